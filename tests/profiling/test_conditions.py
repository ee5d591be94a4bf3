"""The condition of a device, from its kernel's files and its programs' texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from shims import Shims, recording

from edgekit.devices.link.shell import COMMAND_LIMIT_S, Completed, LocalShell
from edgekit.profiling import conditions


def _files(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")
    return str(root)


def _cpu(core: int, name: str) -> str:
    return f"devices/system/cpu/cpu{core}/cpufreq/{name}"


@pytest.fixture
def shims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shims:
    return Shims(tmp_path / "bin", monkeypatch)


def test_a_boards_governors_clocks_and_temperatures_are_read_from_its_kernel(tmp_path: Path) -> None:
    system = _files(
        tmp_path,
        {_cpu(core, "scaling_governor"): "ondemand" if core < 2 else "performance" for core in (0, 1, 2, 10)}
        | {_cpu(core, "scaling_cur_freq"): str(600_000 + core) for core in (0, 1, 2, 10)}
        | {
            "class/thermal/thermal_zone0/type": "cpu-thermal",
            "class/thermal/thermal_zone0/temp": "61250",
            "class/thermal/thermal_zone1/type": "cpu-thermal",
            "class/thermal/thermal_zone1/temp": "48000",
            "class/thermal/thermal_zone2/type": "broken",
        },
    )
    read = conditions.read(LocalShell(), system)
    assert read.governors == ("ondemand", "performance")
    assert read.clock_hz == (600_000_000.0, 600_001_000.0, 600_002_000.0, 600_010_000.0)
    assert read.temperature_c == {"cpu-thermal": 61.25}
    assert read.load_1min is not None
    assert (read.thermal_status, read.charging, read.battery_percent) == (None, None, None)


def test_a_laptops_battery_is_read_and_its_mouses_is_not(tmp_path: Path) -> None:
    supplies = "class/power_supply"
    system = _files(
        tmp_path,
        {
            f"{supplies}/AC/type": "Mains",
            f"{supplies}/BAT0/type": "Battery",
            f"{supplies}/BAT0/status": "Not charging",
            f"{supplies}/BAT0/capacity": "81",
            f"{supplies}/A_mouse/type": "Battery",
            f"{supplies}/A_mouse/scope": "Device",
            f"{supplies}/A_mouse/status": "Discharging",
            f"{supplies}/A_mouse/capacity": "5",
        },
    )
    read = conditions.read(LocalShell(), system)
    assert (read.charging, read.battery_percent) == (True, 81.0)


def test_a_clock_that_the_kernel_does_not_know_is_none(tmp_path: Path) -> None:
    system = _files(tmp_path, {_cpu(0, "scaling_cur_freq"): "<unknown>", _cpu(0, "scaling_governor"): "performance"})
    read = conditions.read(LocalShell(), system)
    assert (read.clock_hz, read.governors) == (None, ("performance",))


def test_a_machine_that_tells_nothing_gives_nothing(tmp_path: Path) -> None:
    read = conditions.read(LocalShell(), str(tmp_path))
    assert (read.governors, read.clock_hz, read.temperature_c, read.charging) == (None, None, None, None)


def test_a_phones_temperatures_are_those_of_now_and_not_the_cached_ones(tmp_path: Path, shims: Shims) -> None:
    shims.prints(
        "dumpsys", {"thermalservice": recording("dumpsys_thermalservice.txt"), "battery": recording("dumpsys_battery.txt")}
    )
    read = conditions.read(LocalShell(), _files(tmp_path / "sys", {_cpu(0, "scaling_governor"): "sched_pixel"}))
    assert read.temperature_c == {"BIG": 62.5, "G3D": 41.25, "VIRTUAL-SKIN": 38.193}
    assert read.thermal_status == 1
    assert (read.charging, read.battery_percent) == (False, 54.0)
    assert read.governors == ("sched_pixel",)


def test_a_phone_on_a_cable_is_charging(tmp_path: Path, shims: Shims) -> None:
    shims.prints("dumpsys", {"battery": recording("dumpsys_battery_usb.txt")})
    read = conditions.read(LocalShell(), str(tmp_path))
    assert (read.charging, read.battery_percent, read.thermal_status) == (True, 80.0, None)


def test_a_mac_tells_its_load_and_its_battery(tmp_path: Path, shims: Shims) -> None:
    shims.prints("uname", {"-s": "Darwin\n"})
    shims.prints("sysctl", {"-n vm.loadavg": "{ 1.57 2.03 2.11 }\n"})
    shims.prints(
        "pmset", {"-g batt": "Now drawing from 'Battery Power'\n -InternalBattery-0\t85%; discharging; 4:35 remaining\n"}
    )
    shims.program("grep", "exit 1")  # none of Linux' files
    read = conditions.read(LocalShell(), str(tmp_path))
    assert (read.load_1min, read.charging, read.battery_percent) == (1.57, False, 85.0)


def test_reading_takes_one_exchange(tmp_path: Path) -> None:
    system = _files(tmp_path, {_cpu(core, "scaling_cur_freq"): "1000" for core in range(16)})

    class Counting(LocalShell):
        runs = 0

        def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
            self.runs += 1
            return super().run(arguments, limit_s=limit_s)

    shell = Counting()
    assert len(conditions.read(shell, system).clock_hz or ()) == 16
    assert shell.runs == 1


def _times(root: Path, cores: dict[int, dict[int, int]]) -> conditions.TimeInState | None:
    lines = {
        _cpu(core, "stats/time_in_state"): "\n".join(f"{khz} {ticks}" for khz, ticks in clocks.items())
        for core, clocks in cores.items()
    }
    return conditions.time_in_state(LocalShell(), _files(root, lines))


def test_the_mean_clock_weighs_each_clock_by_the_time_spent_there(tmp_path: Path) -> None:
    before = _times(tmp_path, {0: {600_000: 100, 1_500_000: 50}, 1: {600_000: 7, 1_500_000: 0}})
    after = _times(tmp_path, {0: {600_000: 200, 1_500_000: 350}, 1: {600_000: 7, 1_500_000: 10}})
    assert conditions.mean_clock(before, after) == (1_275_000_000.0, 1_500_000_000.0)


def test_no_mean_clock_where_none_is_counted_or_the_counts_were_set_back(tmp_path: Path) -> None:
    count = _times(tmp_path / "a", {0: {600_000: 100}})
    assert conditions.time_in_state(LocalShell(), str(tmp_path / "none")) is None
    assert conditions.mean_clock(None, count) is None
    assert conditions.mean_clock(count, count) is None
    assert conditions.mean_clock(count, _times(tmp_path / "b", {0: {600_000: 40}})) is None
    assert conditions.mean_clock(count, _times(tmp_path / "c", {0: {600_000: 200}, 1: {600_000: 200}})) is None
