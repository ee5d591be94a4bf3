"""The floor's arithmetic, and the cache of peaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.profiling import peak, roofline
from edgekit.profiling.measurement import Floor
from edgekit.profiling.roofline import Peak

_PEAK = Peak(macs_per_s=1e9, bytes_per_s=1e6, calm=True)


def _floor(**changes: Any) -> Floor:
    fields: dict[str, Any] = {
        "macs": 2_000_000_000,
        "model_bytes": 900_000,
        "io_bytes": 100_000,
        "precision": "fp32",
        "latency_s": 3.0,
        "peak": _PEAK,
    }
    return roofline.floor(**{**fields, **changes})


def test_arithmetic_bounds_a_model_with_many_multiplications() -> None:
    assert _floor() == Floor(2.0, "compute", None, False, 1_000_000, 1e9, 1e6, True)


def test_memory_bounds_a_model_with_many_weights() -> None:
    floor = _floor(model_bytes=2_900_000)
    assert (floor.floor_s, floor.bound) == (3.0, "memory")


def test_a_latency_below_the_floor_is_said_and_changes_nothing() -> None:
    floor = _floor(latency_s=1.9)
    assert floor.beaten is True
    assert floor.floor_s == 2.0


@pytest.mark.parametrize(
    ("unknown", "reason"),
    [
        ({"macs": None}, "multiply-adds"),
        ({"model_bytes": None}, "size of the weights"),
        ({"precision": "fp16"}, "computes in fp16"),
        ({"peak": None}, "not measured"),
    ],
)
def test_without_what_it_takes_there_is_no_floor_but_a_reason(unknown: dict[str, Any], reason: str) -> None:
    floor = _floor(**unknown)
    assert (floor.floor_s, floor.bound, floor.beaten) == (None, None, None)
    assert floor.reason is not None
    assert reason in floor.reason


class _Machine:
    """Stands in for the measuring process; counts how often it is asked."""

    asked = 0
    calm = True

    def __init__(self, subject: str, *, threads: int) -> None:
        pass

    def __enter__(self) -> _Machine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, command: str, **arguments: object) -> dict[str, float | bool]:
        assert command == "peak"
        type(self).asked += 1
        return {"macs_per_s": 5e10 * _Machine.asked, "bytes_per_s": 2e10, "calm": self.calm}


@pytest.fixture
def peak_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(roofline, "Worker", _Machine)
    monkeypatch.setattr(_Machine, "asked", 0)
    return tmp_path / "roofline"


def test_the_peak_is_measured_once_a_thread_count(peak_cache: Path) -> None:
    first = roofline.of_machine(1, None)
    assert roofline.of_machine(1, None) == first
    assert _Machine.asked == 1
    assert roofline.of_machine(2, None) != first
    assert _Machine.asked == 2
    assert len(list(peak_cache.iterdir())) == 2


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"macs_per_s": 0, "bytes_per_s": 1, "calm": true}', '{"macs_per_s": 1}'])
def test_a_damaged_cache_is_measured_again(peak_cache: Path, damage: str) -> None:
    roofline.of_machine(1, None)
    [entry] = peak_cache.iterdir()
    entry.write_text(damage)
    assert roofline.of_machine(1, None) == Peak(10e10, 2e10, calm=True)
    assert json.loads(entry.read_text()) == {"macs_per_s": 10e10, "bytes_per_s": 2e10, "calm": True}


def test_a_cache_that_cannot_be_written_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(roofline, "Worker", _Machine)
    assert roofline.of_machine(1, None).bytes_per_s == 2e10


def test_a_busy_machines_peak_is_said_to_be_and_measured_again(peak_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Machine, "calm", False)
    busy = roofline.of_machine(1, None)
    assert _floor(peak=busy).peak_calm is False
    roofline.of_machine(1, None)
    assert _Machine.asked == 2
    assert not peak_cache.exists()


def test_a_peak_is_measured_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "_READ_BYTES", 2**16)
    monkeypatch.setattr(peak, "_REPEATS_S", 0.0)
    measured = peak.measure(1, 64, roofline._product(64))
    assert measured["macs_per_s"] > 0
    assert measured["bytes_per_s"] > 0
    assert isinstance(measured["calm"], bool)


def test_the_fastest_run_counts_and_a_wide_spread_is_not_calm(monkeypatch: pytest.MonkeyPatch) -> None:
    def fastest_of(seconds: list[float]) -> tuple[float, bool]:
        now, runs = 0.0, iter(seconds)

        def run() -> None:
            nonlocal now
            now += next(runs)

        monkeypatch.setattr(peak.time, "perf_counter", lambda: now)
        return peak._fastest(run)

    assert fastest_of([1.0] * 4 + [1.5] * 16) == (1.0, True)
    assert fastest_of([1.0] + [1.5] * 19) == (1.0, False)
