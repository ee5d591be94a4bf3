"""The host transport: who runs when, on workers that only keep a diary; and how transports are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgekit import devices, profiles
from edgekit.devices import local
from edgekit.errors import EdgekitError, UnknownName, Unsupported
from edgekit.profiling import machine, roofline


class _DiaryWorker:
    """Answers at once, and writes down what it was asked."""

    diary: ClassVar[list[tuple[str, str]]] = []
    alive: ClassVar[int] = 0
    macs: ClassVar[int | None] = None

    def __init__(self, subject: str, *, threads: int) -> None:
        self._subject, self._threads = subject, threads

    def __enter__(self) -> _DiaryWorker:
        type(self).alive += 1
        return self

    def __exit__(self, *_: object) -> None:
        type(self).alive -= 1
        self.diary.append(("end", self._subject))

    def ask(self, command: str, **arguments: Any) -> Any:
        self.diary.append((command, self._subject))
        if command == "open":
            assert arguments["threads"] == self._threads
            if self._subject == "crash":
                raise EdgekitError("measuring crash failed")
            return {
                "runtime": f"runtime of {self._subject}",
                "threads": self._threads,
                "inputs": "none",
                "io_bytes": 100,
                "cold_load_s": 0.1,
                "first_run_s": 0.2,
                "macs": self.macs,
                "weight_bytes": None if self.macs is None else 900,
            }
        if command == "warm_up":
            return {"runs": 9, "seconds": 0.3, "steady": True}
        if command == "block":
            latency_s = [0.01, 0.02] if self._subject == "b" else [0.01]
            return {"latency_s": latency_s, "waited_share": {"a": 0.25, "b": None}.get(self._subject, 0.0)}
        assert command == "finish"
        return {"load_memory_bytes": 1, "peak_memory_bytes": 2}


@pytest.fixture(autouse=True)
def diary(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    monkeypatch.setattr(_DiaryWorker, "diary", [])
    monkeypatch.setattr(_DiaryWorker, "alive", 0)
    monkeypatch.setattr(local, "Worker", _DiaryWorker)
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    monkeypatch.setattr(machine, "fastest_core", lambda: 3)
    monkeypatch.setattr(roofline, "of_machine", lambda threads, core: roofline.Peak(1e3, 1e3, calm=True))
    return _DiaryWorker.diary


def _measure(*subjects: str, threads: int = 1, duration_s: float = 4.0) -> list[local.Measurement]:
    return local.measure(subjects, device="host", threads=threads, duration_s=duration_s, progress=lambda done, total: None)


def test_blocks_of_all_subjects_take_turns_in_an_order_that_varies(diary: list[tuple[str, str]]) -> None:
    _measure("a", "b", "c")
    turns = [subject for command, subject in diary if command == "block"]
    rounds = [tuple(turns[i : i + 3]) for i in range(0, len(turns), 3)]
    assert len(rounds) == 2 * 8  # processes x (4 s / 2 processes / 0.25 s)
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 2


def test_the_order_is_the_same_every_time(diary: list[tuple[str, str]]) -> None:
    _measure("a", "b", "c")
    first = list(diary)
    diary.clear()
    _measure("a", "b", "c")
    assert diary == first


def test_the_second_processes_start_after_the_first_have_ended(diary: list[tuple[str, str]]) -> None:
    _measure("a", "b")
    kinds = [command for command, _ in diary]
    half = len(kinds) // 2
    for generation in (diary[:half], diary[half:]):
        commands = [command for command, _ in generation]
        assert sorted(subject for command, subject in generation if command == "open") == ["a", "b"]
        assert commands[-2:] == ["end", "end"]
        assert commands.index("block") > max(i for i, command in enumerate(commands) if command == "warm_up")


def test_measurements_come_in_the_order_asked_with_every_process_told_apart() -> None:
    a, b = _measure("a", "b", duration_s=0.1)
    assert (a.subject, b.subject) == ("a", "b")
    assert b.fingerprint.runtime == "runtime of b"
    assert [process.latency_s for process in a.processes] == [(0.01,) * 5] * 2
    assert [process.block_runs for process in b.processes] == [(2,) * 5] * 2
    assert b.processes[0].latency_s == (0.01, 0.02) * 5
    assert (a.waited_share, b.waited_share) == (0.25, None)


def test_one_thread_is_pinned_and_more_are_not() -> None:
    [one], [two] = _measure("a"), _measure("a", threads=2)
    assert {process.core for process in one.processes} == {3}
    assert {process.core for process in two.processes} == {None}
    assert two.fingerprint.threads == 2


def test_a_session_may_know_its_own_macs_and_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_DiaryWorker, "macs", 5)
    [made] = _measure("a")
    assert (made.macs, made.model_bytes) == (5, 900)
    assert (made.floor.floor_s, made.floor.bound) == (1.0, "memory")


def test_one_subject_that_fails_ends_the_processes_of_all() -> None:
    with pytest.raises(EdgekitError, match="measuring crash failed"):
        _measure("a", "crash", "b")
    assert _DiaryWorker.alive == 0


def test_transports_are_found_by_name() -> None:
    assert devices.find("local") is local
    with pytest.raises(UnknownName, match="unknown transport 'locl'") as caught:
        devices.find("locl")
    assert caught.value.next_step == "did you mean local?"


def test_every_shipped_device_is_reached_or_refused_with_a_next_step() -> None:
    for name in profiles.names():
        device = profiles.load(name)
        if device.transport is not None:
            assert callable(devices.reach(device).measure)
            continue
        with pytest.raises(Unsupported) as caught:
            devices.reach(device)
        assert name in caught.value.what
        assert "cannot reach this device yet" in caught.value.cause
        assert "host" in caught.value.next_step


def test_an_artifact_that_is_damaged_is_refused_before_anything_starts(tmp_path: Path, diary: list[tuple[str, str]]) -> None:
    with pytest.raises(EdgekitError, match="is not an edgekit artifact"):
        _measure("a", str(tmp_path))
    assert diary == []
