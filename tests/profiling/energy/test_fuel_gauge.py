"""A battery's fuel gauge, sampled by the real loop: on a phone's recorded texts, and on files as Linux has them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from shims import Shims, recording

from edgekit.devices.link.shell import LocalShell
from edgekit.profiling.energy import Meter, NotMeasured, fuel_gauge
from edgekit.profiling.measurement import Energy


@pytest.fixture
def shims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shims:
    """Its `sleep` is sixty times as fast, and the loop's file in a folder of the test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    shims = Shims(tmp_path / "bin", monkeypatch)
    shims.program("sleep", 'exec /bin/sleep "0.0$1"')
    return shims


def _battery(tmp_path: Path, name: str = "BAT0", **files: object) -> str:
    folder = tmp_path / "supplies" / name
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in ({"type": "Battery", "status": "Discharging", "voltage_now": 12_000_000} | files).items():
        (folder / key).write_text(f"{value}\n", encoding="utf-8")
    return str(tmp_path / "supplies")


def _meter(supplies: str = "/none") -> Meter:
    found = fuel_gauge.find(LocalShell(), supplies)
    assert isinstance(found, Meter)
    return found


def _absent(supplies: str = "/none") -> Energy:
    found = fuel_gauge.find(LocalShell(), supplies)
    assert isinstance(found, Energy)
    return found


def _sampled(tmp_path: Path, text: str) -> None:
    """Wait until the loop has written `text`."""
    ends = time.monotonic() + 20
    while text not in (tmp_path / "edgekit-fuel-gauge").read_text(encoding="utf-8"):
        assert time.monotonic() < ends, f"the loop never sampled {text}"
        time.sleep(0.02)


def _watts(meter: Meter) -> float:
    with meter:
        time.sleep(0.1)
        first = meter.read()
        time.sleep(0.5)
        last = meter.read()
    return (last.joules - first.joules) / (last.at_s - first.at_s)


def test_a_phones_current_by_voltage_is_added_up(tmp_path: Path, shims: Shims) -> None:
    shims.prints("dumpsys", {"battery": recording("dumpsys_battery.txt")})
    shims.prints("cmd", {"battery get -f current_now": "-406000\n"})
    meter = _meter()
    assert meter.scope == "whole device"
    assert _watts(meter) == pytest.approx(0.406 * 3.906)
    assert list(tmp_path.glob("edgekit-fuel-gauge*")) == []


@pytest.mark.parametrize("files", [{"current_now": 1_500_000}, {"current_now": -1_500_000}, {"power_now": 18_000_000}])
def test_a_laptops_battery_is_read_whichever_way_it_counts(tmp_path: Path, shims: Shims, files: dict[str, int]) -> None:
    assert _watts(_meter(_battery(tmp_path, **files))) == pytest.approx(18.0)


def test_the_loop_follows_a_load_that_changes_between_two_readings(tmp_path: Path, shims: Shims) -> None:
    supplies = _battery(tmp_path, current_now=1_000_000)
    meter = _meter(supplies)
    with meter:
        first = meter.read()
        _battery(tmp_path, current_now=3_000_000)
        _sampled(tmp_path, "current_now=3000000")
        time.sleep(0.3)
        _battery(tmp_path, current_now=1_000_000)
        last = meter.read()
    watts = (last.joules - first.joules) / (last.at_s - first.at_s)
    assert 12.5 < watts < 35.9  # at 36 W in between: the two readings alone would say 12


def test_a_reading_of_zero_is_a_failed_one(tmp_path: Path, shims: Shims) -> None:
    supplies = _battery(tmp_path, current_now=1_000_000)
    meter = _meter(supplies)
    with meter:
        first = meter.read()
        _battery(tmp_path, current_now=0)
        _sampled(tmp_path, "current_now=0")
        _battery(tmp_path, current_now=1_000_000)
        time.sleep(0.1)
        last = meter.read()
    assert (last.joules - first.joules) / (last.at_s - first.at_s) == pytest.approx(12.0)


def test_a_gauge_that_answers_zero_time_and_again_is_not_measured(tmp_path: Path, shims: Shims) -> None:
    with _meter(_battery(tmp_path, current_now=0)) as meter, pytest.raises(NotMeasured, match="time and again") as absence:
        meter.read()
    assert absence.value.status == "counter_static"


def test_a_phone_on_a_cable_is_not_measured(shims: Shims) -> None:
    shims.prints("dumpsys", {"battery": recording("dumpsys_battery_usb.txt")})
    shims.prints("cmd", {"battery get -f current_now": "250000\n"})
    found = _absent()
    assert found.status == "charging"
    assert "adb tcpip" in (found.reason or "")


def test_charging_that_begins_in_the_middle_is_noticed_and_leaves_nothing_behind(tmp_path: Path, shims: Shims) -> None:
    supplies = _battery(tmp_path, current_now=1_000_000)
    meter = _meter(supplies)
    with meter:
        meter.read()
        _battery(tmp_path, current_now=1_000_000, status="Charging")
        _sampled(tmp_path, "status=Charging")
        _battery(tmp_path, current_now=1_000_000)  # taken out again: the loop saw it
        with pytest.raises(NotMeasured) as absence:
            meter.read()
    assert absence.value.status == "charging"
    assert list(tmp_path.glob("edgekit-fuel-gauge*")) == []


@pytest.mark.parametrize("files", [{}, {"current_now": 406}])
def test_a_gauge_without_a_current_or_in_another_unit_is_refused(tmp_path: Path, shims: Shims, files: dict[str, int]) -> None:
    found = _absent(_battery(tmp_path, **files))
    assert (found.status, found.gross_j) == ("no_counter", None)
    assert ("406 microamperes" if files else "no current") in (found.reason or "")


def test_two_batteries_are_refused(tmp_path: Path, shims: Shims) -> None:
    _battery(tmp_path, current_now=1_000_000)
    assert "2 batteries" in (_absent(_battery(tmp_path, "BAT1", current_now=1_000_000)).reason or "")


def test_a_machine_without_a_battery_has_no_gauge(tmp_path: Path, shims: Shims) -> None:
    supplies = _battery(tmp_path, "A_mouse", current_now=1_000_000, scope="Device")
    assert fuel_gauge.find(LocalShell(), supplies) is None
