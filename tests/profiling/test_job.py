"""The engine: who runs when, and what becomes of samples; on a device that keeps a diary instead of running anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from edgekit.devices import Block, Device, Facts, Opened, Trial
from edgekit.devices.link.tape import Live
from edgekit.errors import DeviceError, EdgekitError, Interrupted, UsageError
from edgekit.profiling import job, plan
from edgekit.profiling.measurement import Measurement, Memory, Model
from edgekit.profiling.roofline import Peak
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject
from edgekit.profiling.timing import WarmUp


@dataclass
class _Diary(Device):
    """Answers at once, and writes down what it was asked. `fails_at` maps a subject to the block at which it fails."""

    fails_at: dict[str, int] = field(default_factory=dict)
    failure: BaseException = field(default_factory=lambda: DeviceError("the board is gone", next_step="plug it in"))
    entries: list[tuple[str, str]] = field(default_factory=list)
    alive: int = 0
    macs: int | None = None

    def __post_init__(self) -> None:
        self.name, self.tape = "board", Live()

    def facts(self) -> Facts:
        return Facts(os="Linux", hardware="a board", cores=4)

    def plan(self, settings: Settings) -> plan.Plan:
        return plan.of(settings)

    def start(self, subject: Subject, settings: Settings, *, cold: bool) -> Trial:
        self.entries.append(("start", subject.name))
        if subject.name == "crash":
            raise EdgekitError("measuring crash failed")
        self.alive += 1
        return _Turn(self, subject.name, cold)

    def peak(self, settings: Settings) -> Peak | None:
        return Peak(1e3, 1e3, calm=True)


class _Turn(Trial):
    def __init__(self, device: _Diary, subject: str, cold: bool) -> None:
        self._device, self._subject, self._blocks = device, subject, 0
        self.opened = Opened(
            runtime=f"runtime of {subject}",
            inputs="none",
            io_bytes=100,
            input_shapes={"x": (1,)},
            threads=1,
            load_s=0.1,
            load_was_cold=cold,
            first_run_s=0.2,
            macs=device.macs,
            weight_bytes=None if device.macs is None else 900,
        )

    def warm_up(self) -> WarmUp:
        self._device.entries.append(("warm_up", self._subject))
        return WarmUp(9, 0.3, steady=True)

    def block(self, duration_s: float) -> Block:
        self._device.entries.append(("block", self._subject))
        if self._device.fails_at.get(self._subject) == self._blocks:
            raise self._device.failure
        self._blocks += 1
        share = {"a": 0.25, "b": None}.get(self._subject, 0.0)
        return Block((0.01, 0.02) if self._subject == "b" else (0.01,), share)

    def run_for(self, duration_s: float) -> int:
        return 1

    def finish(self) -> Memory:
        return Memory(run_peak_bytes=1, process_peak_bytes=2)

    def close(self) -> None:
        self._device.alive -= 1
        self._device.entries.append(("end", self._subject))


def _measure(device: _Diary, *names: str, **settings: Any) -> list[Measurement]:
    subjects = [Subject(name, name, Model(name=name, target="eager")) for name in names]
    return job.measure(device, subjects, Settings(**settings), progress=lambda done, total: None)


@pytest.fixture
def device() -> _Diary:
    return _Diary()


def test_blocks_of_all_subjects_take_turns_in_an_order_that_varies(device: _Diary) -> None:
    made = _measure(device, "a", "b", "c")
    turns = [subject for what, subject in device.entries if what == "block"]
    rounds = [tuple(turns[i : i + 3]) for i in range(0, len(turns), 3)]
    assert len(rounds) == sum(len(process.block_runs) for process in made[0].processes)
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 2


def test_the_order_is_the_same_every_time(device: _Diary) -> None:
    _measure(device, "a", "b", "c")
    again = _Diary()
    _measure(again, "a", "b", "c")
    assert device.entries == again.entries


def test_a_generation_of_processes_ends_before_the_next_starts(device: _Diary) -> None:
    made = _measure(device, "a", "b")
    size = len(device.entries) // len(made[0].processes)
    for first in range(0, len(device.entries), size):
        generation = device.entries[first : first + size]
        kinds = [what for what, _ in generation]
        assert sorted(subject for what, subject in generation if what == "start") == ["a", "b"]
        assert kinds[-2:] == ["end", "end"]
        assert kinds.index("block") > max(i for i, what in enumerate(kinds) if what == "warm_up")


def test_sustained_each_subject_has_the_device_to_itself(device: _Diary) -> None:
    a, _ = _measure(device, "a", "b", mode="sustained", duration_s=6)
    turns = [subject for what, subject in device.entries if what == "block"]
    assert turns == ["a"] * 6 + ["b"] * 6
    assert a.conditions.mode == "sustained"


def test_measurements_come_in_the_order_asked_with_every_process_told_apart(device: _Diary) -> None:
    a, b = _measure(device, "a", "b", duration_s=0.1)
    assert (a.subject, b.subject) == ("a", "b")
    assert (b.fingerprint.runtime, b.fingerprint.device, b.fingerprint.hardware) == ("runtime of b", "board", "a board")
    assert {process.latency_s for process in a.processes} == {(0.01,) * len(a.processes[0].block_runs)}
    assert set(b.processes[0].block_runs) == {2}
    assert (a.waited_share, b.waited_share) == (0.25, None)
    assert a.job == b.job
    assert a.interrupted is None


def test_some_processes_load_from_the_disk_and_some_from_the_cache(device: _Diary) -> None:
    (made,) = _measure(device, "a")
    assert {process.load_was_cold for process in made.processes} == {True, False}
    assert (made.cold_load_s, made.warm_load_s) == (0.1, 0.1)


def test_a_session_may_know_its_own_macs_and_weights(device: _Diary) -> None:
    device.macs = 5
    (made,) = _measure(device, "a")
    assert (made.model.macs, made.model.size_bytes) == (5, 900)
    assert (made.floor.floor_s, made.floor.bound) == (1.0, "memory")


def test_a_subject_that_fails_before_any_sample_is_an_error_as_it_is(device: _Diary) -> None:
    with pytest.raises(EdgekitError, match="measuring crash failed") as caught:
        _measure(device, "a", "crash", "b")
    assert not isinstance(caught.value, Interrupted)
    assert device.alive == 0


def test_no_sample_is_lost_when_the_device_is(device: _Diary) -> None:
    device.fails_at = {"b": 3}
    with pytest.raises(Interrupted, match="the board is gone") as caught:
        _measure(device, "a", "b")
    assert (caught.value.exit_code, caught.value.next_step) == (4, "plug it in")
    taken = {made.subject: made for made in caught.value.partial}
    assert len(taken["b"].processes[0].latency_s) == 3 * 2
    assert len(taken["a"].processes[0].latency_s) in (3, 4)
    assert taken["a"].interrupted == "the board is gone"
    assert taken["a"].memory == Memory()
    assert device.alive == 0


def test_what_the_user_ends_is_kept_too(device: _Diary) -> None:
    device.fails_at, device.failure = {"a": 2}, KeyboardInterrupt()
    with pytest.raises(Interrupted) as caught:
        _measure(device, "a")
    assert caught.value.exit_code == 130
    assert len(caught.value.partial[0].processes[0].latency_s) == 2


def test_whole_processes_are_kept_when_a_later_one_does_not_start(device: _Diary) -> None:
    start, started = device.start, []

    def once(*arguments: Any, **named: Any) -> Trial:
        started.append(arguments)
        if len(started) > 1:
            raise DeviceError("the disk is full")
        return start(*arguments, **named)

    device.start = once  # type: ignore[method-assign]  # one device, failing once
    with pytest.raises(Interrupted, match="the disk is full") as caught:
        _measure(device, "a")
    assert caught.value.partial[0].memory == Memory(1, 2)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"duration_s": 0}, "cannot measure for 0 s"),
        ({"duration_s": float("inf")}, "cannot measure for inf s"),
        ({"threads": 0}, "cannot measure with 0 threads"),
        ({"batches": (4, 0)}, "cannot measure a batch of 0"),
        ({"threads": 2, "cores": (3, 3)}, "cannot measure with 2 threads on 1 cores"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings(**settings)
    assert caught.value.what == what
    assert caught.value.next_step
