"""The power rails of an Android phone, from recorded texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from shims import Shims, recording

from edgekit.devices.link.shell import LocalShell
from edgekit.profiling import energy
from edgekit.profiling.energy import Meter, android_rails
from edgekit.profiling.measurement import Energy

_HAL = "android.hardware.power.stats.IPowerStats/default"


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shims:
    return Shims(tmp_path / "bin", monkeypatch)


def test_the_rails_of_processors_and_memory_are_added(phone: Shims) -> None:
    texts = {"powerstats": recording("dumpsys_powerstats.txt"), _HAL: recording("power_stats_hal.txt")}
    phone.prints("dumpsys", texts)
    meter = android_rails.find(LocalShell())
    assert isinstance(meter, Meter)
    first = meter.read()
    assert first.joules == pytest.approx(3.16125 + 28.07187 + 17.47714 + 113.44745 + 12.54359 + 25.90166)
    assert "rails S10M_VDD_TPU, S1M_VDD_MIF, S2M_VDD_CPUCL2" in meter.method
    assert "MODEM" not in meter.method
    assert "DISP" not in meter.method
    later = {"28071.87": "30071.87", "48480.31": "99999.99"}
    for before, after in later.items():
        texts[_HAL] = texts[_HAL].replace(before, after)
    phone.prints("dumpsys", texts)
    last = meter.read()
    assert last.joules - first.joules == pytest.approx(2.0)
    assert last.at_s >= first.at_s


def test_rails_that_are_there_and_may_not_be_read_say_so(phone: Shims) -> None:
    phone.prints(
        "dumpsys", {"powerstats": recording("dumpsys_powerstats.txt"), "battery": recording("dumpsys_battery_usb.txt")}
    )
    found = android_rails.find(LocalShell())
    assert isinstance(found, Energy)
    assert (found.status, found.gross_j) == ("permission_denied", None)
    assert "3 power rails" in (found.reason or "")
    assert "adb root" in (found.reason or "")


def test_a_phone_that_could_be_measured_in_two_ways_is_told_both(phone: Shims) -> None:
    phone.prints(
        "dumpsys", {"powerstats": recording("dumpsys_powerstats.txt"), "battery": recording("dumpsys_battery_usb.txt")}
    )
    phone.prints("uname", {"-sm": "Linux aarch64\n"})
    found = energy.find(LocalShell())
    assert isinstance(found, Energy)
    assert found.status == "permission_denied"
    assert "adb root" in (found.reason or "")
    assert "adb tcpip" in (found.reason or "")


def test_a_phone_without_rails_has_no_such_counter(phone: Shims) -> None:
    phone.prints("dumpsys", {"powerstats": "PowerStatsService dumpsys: available Channels\n"})
    found = android_rails.find(LocalShell())
    assert isinstance(found, Energy)
    assert found.status == "no_counter"
    assert "Pixel 6" in (found.reason or "")


def test_rails_of_the_display_and_the_radios_alone_are_not_a_models(phone: Shims) -> None:
    table = recording("power_stats_hal.txt")
    rows = [line for line in table.splitlines() if "mWs" not in line or "MODEM" in line or "DISP" in line]
    phone.prints("dumpsys", {"powerstats": "", _HAL: "\n".join(rows)})
    found = android_rails.find(LocalShell())
    assert isinstance(found, Energy)
    assert "none of this phone's power rails" in (found.reason or "")


def test_rails_that_vanish_in_the_middle_are_not_measured(phone: Shims) -> None:
    phone.prints("dumpsys", {"powerstats": recording("dumpsys_powerstats.txt"), _HAL: recording("power_stats_hal.txt")})
    meter = android_rails.find(LocalShell())
    assert isinstance(meter, Meter)
    phone.prints("dumpsys", {})
    assert energy.measure(meter, lambda seconds: 1, window_s=0.01).status == "no_counter"


def test_a_machine_without_dumpsys_is_no_phone() -> None:
    assert android_rails.find(LocalShell()) is None
