"""The loops, on a clock that only moves when the model runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

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
    assert timing.block(model.run, clock=model.clock, duration_s=0.25) == [0.0625, 0.125, 0.0625]


def test_a_slow_model_runs_once_in_a_block() -> None:
    model = _Model([4.0, 8.0])
    assert timing.block(model.run, clock=model.clock, duration_s=0.25) == [8.0]


def test_a_block_of_a_very_fast_model_ends_after_250_runs() -> None:
    model = _Model(itertools.repeat(2**-20))
    assert len(timing.block(model.run, clock=model.clock, duration_s=60)) == 250


def test_an_error_of_the_model_passes_through() -> None:
    model = _Model([0.0625])
    with pytest.raises(StopIteration):
        timing.warm_up(model.run, clock=model.clock)
