"""The loops, on a clock that only moves when the model runs."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from edgekit.profiling import timing


class _Model:
    """Takes the given seconds, run after run, on its own clock."""

    def __init__(self, latencies_s: Iterable[float]) -> None:
        self._latencies_s: Iterator[float] = iter(latencies_s)
        self.now_s = 1000.0
        self.runs = 0

    def run(self) -> None:
        self.runs += 1
        self.now_s += next(self._latencies_s)

    def clock(self) -> float:
        return self.now_s


def test_a_steady_model_is_warm_after_three_windows() -> None:
    model = _Model(itertools.repeat(0.0625))
    result = timing.warm_up(model.run, clock=model.clock)
    assert result == timing.WarmUp(runs=9, seconds=9 * 0.0625, steady=True)
    assert model.runs == 9


def test_a_fast_model_fills_windows_of_a_tenth_of_a_second() -> None:
    model = _Model(itertools.repeat(2**-7))
    result = timing.warm_up(model.run, clock=model.clock)
    assert result.runs == 3 * 13  # 13 runs of 7.8 ms are the first to reach 100 ms
    assert result.steady


def test_the_warm_up_goes_on_while_the_model_gets_faster() -> None:
    model = _Model(itertools.chain([0.5] * 3, [0.25] * 3, [0.125] * 3, itertools.repeat(0.0625)))
    result = timing.warm_up(model.run, clock=model.clock, limit_s=60)
    assert result.steady
    assert result.runs == 18


def test_a_restless_model_is_given_up_at_the_limit_and_said_not_to_be_steady() -> None:
    model = _Model(itertools.cycle([0.0625] * 3 + [0.125] * 3))
    result = timing.warm_up(model.run, clock=model.clock, limit_s=2.0)
    assert not result.steady
    assert 2.0 <= result.seconds < 2.5
    assert result.runs == model.runs


def test_a_model_slower_than_the_limit_still_gets_three_windows() -> None:
    model = _Model(itertools.repeat(4.0))
    assert timing.warm_up(model.run, clock=model.clock, limit_s=2.0) == timing.WarmUp(9, 36.0, steady=True)


def test_a_block_leaves_out_the_first_runs_and_keeps_every_later_one_in_order() -> None:
    model = _Model(itertools.chain([0.015625] * 2, [0.0625, 0.125, 0.0625], itertools.repeat(9.0)))
    assert timing.block(model.run, clock=model.clock, duration_s=0.25).latency_s == [0.0625, 0.125, 0.0625]


def test_a_block_right_after_the_last_needs_no_untimed_runs() -> None:
    model = _Model(itertools.count(1))
    assert timing.block(model.run, clock=model.clock, duration_s=3, rested=False).latency_s == [1, 2]


def test_a_slow_model_runs_once_in_a_block() -> None:
    model = _Model([4.0, 8.0])
    assert timing.block(model.run, clock=model.clock, duration_s=0.25).latency_s == [8.0]


def test_a_block_of_a_very_fast_model_ends_after_250_runs() -> None:
    model = _Model(itertools.repeat(2**-20))
    assert len(timing.block(model.run, clock=model.clock, duration_s=60).latency_s) == 250


def test_an_error_of_the_model_passes_through() -> None:
    model = _Model([0.0625])
    with pytest.raises(StopIteration):
        timing.warm_up(model.run, clock=model.clock)


def test_what_each_run_waited_for_its_core_is_told_beside_it() -> None:
    model = _Model([0.0625, 0.125, 0.25, 0.125])
    waits = iter([10.0, 10.0, 10.125, 10.125])  # the second timed run lost an eighth of a second
    runs = timing.block(model.run, clock=model.clock, duration_s=0.5, waited=lambda: next(waits))
    assert runs == timing.Runs([0.125, 0.25, 0.125], [0.0, 0.125, 0.0])


def test_waiting_is_no_sign_of_a_cold_model() -> None:
    class Robbed(_Model):
        """Of every second window, each run waits for as long as it computes."""

        waited_s = 0.0

        def run(self) -> None:
            super().run()
            self.waited_s += 0.0625 * ((self.runs - 1) // 3 % 2)

    latencies_s = [0.0625] * 3 + [0.125] * 3
    robbed = Robbed(itertools.cycle(latencies_s))
    assert timing.warm_up(robbed.run, clock=robbed.clock, waited=lambda: robbed.waited_s).steady
    restless = Robbed(itertools.cycle(latencies_s))
    assert not timing.warm_up(restless.run, clock=restless.clock).steady


def test_latency_without_waiting_is_never_below_zero() -> None:
    assert timing.net_s([1.0, 2.0, 3.0], [0.0, 0.5, 4.0]) == [1.0, 1.5, 0.0]


@pytest.mark.parametrize(
    ("medians", "verdict"),
    [
        ([], False),
        ([1.0, 1.0], False),
        ([1.0, 1.01, 1.02], True),
        ([1.0, 1.015, 1.03], False),
        ([2.0, 1.0, 1.0, 1.0], True),
        ([1.0, 1.0, 1.0, 2.0], False),
    ],
)
def test_the_last_three_medians_must_agree_within_two_percent(medians: list[float], verdict: bool) -> None:
    assert timing.agree(medians) is verdict


def test_a_board_without_edgekit_can_run_this_file_alone(tmp_path: Path) -> None:
    alone = tmp_path / "timing.py"
    alone.write_text(Path(timing.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run([sys.executable, "-I", "-S", str(alone)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
