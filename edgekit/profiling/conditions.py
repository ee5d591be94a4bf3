"""The condition a device is in, and the mean clock of its cores, read through its shell.

All is read by one script in one exchange, because each costs 10 ms over ssh and 50 ms over adb; what a device lacks prints
nothing.
"""

from __future__ import annotations

import re

from edgekit.devices.link.shell import Shell
from edgekit.profiling.measurement import DeviceState

_SYSTEM = "/sys"
# `grep -H .` prints each file's path and text; `-r` is not in every phone's, and no file here is a folder.
_READ = """grep -H . {system}/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor \\
{system}/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq {system}/class/thermal/thermal_zone*/type \\
{system}/class/thermal/thermal_zone*/temp {system}/class/power_supply/*/type {system}/class/power_supply/*/scope \\
{system}/class/power_supply/*/status {system}/class/power_supply/*/capacity /proc/loadavg 2>/dev/null
if command -v dumpsys >/dev/null; then dumpsys thermalservice; dumpsys battery; fi 2>/dev/null
if [ "$(uname -s)" = Darwin ]; then sysctl -n vm.loadavg; pmset -g batt; fi 2>/dev/null"""
_TIMES = "for f in {system}/devices/system/cpu/cpu[0-9]*/cpufreq/stats/time_in_state; do echo ::$f; cat $f; done 2>/dev/null"
_FILE = re.compile(r"^(/\S+?):(.*)$", re.MULTILINE)
_HAL = re.compile(r"Current temperatures from HAL:\n((?:\s+Temperature\{.*\}\n?)*)")
_TEMPERATURE = re.compile(r"mValue=([-\d.]+), mType=(-?\d+), mName=([^,}]+)")
_CURRENTS = {"6", "7", "8"}
"""Android's types that are a voltage, a current and a percentage."""

TimeInState = dict[int, dict[int, int]]
"""By core and by hertz: hundredths of a second at that clock, since the device started."""


class Watch:
    """A device's condition over a job. `shell` is None for a device that has none to offer: then all is."""

    before: DeviceState | None = None
    after: DeviceState | None = None
    mean_clock_hz: tuple[float, ...] | None = None

    def __init__(self, shell: Shell | None) -> None:
        self._shell = shell
        if shell is not None:
            self.before, self._times = read(shell), time_in_state(shell)

    def end(self) -> None:
        """The job is over."""
        if self._shell is not None:
            self.after, self.mean_clock_hz = read(self._shell), mean_clock(self._times, time_in_state(self._shell))


def read(shell: Shell, system: str = _SYSTEM) -> DeviceState:
    """The device's condition now. `system` is where its kernel's files are."""
    text = shell.run(["sh", "-c", _READ.format(system=system)]).stdout
    files = {path: value.strip() for path, value in _FILE.findall(text)}
    android = _android_battery(text)
    charging, percent = android if android is not None else _linux_battery(files)
    mac = re.search(r"(\d+)%; (\w[\w ]*);", text)
    if mac:
        charging, percent = mac[2] != "discharging", float(mac[1])
    load = files.get("/proc/loadavg") or (found[1] if (found := re.search(r"^\{ ([\d.]+) ", text, re.MULTILINE)) else None)
    status = re.search(r"^Thermal Status: (\d+)", text, re.MULTILINE)
    clocks = _by_core(files, "cpufreq/scaling_cur_freq")
    known = bool(clocks) and all(khz.isdigit() for khz in clocks.values())  # some kernels say <unknown>
    return DeviceState(
        governors=tuple(sorted(set(_by_core(files, "cpufreq/scaling_governor").values()))) or None,
        clock_hz=tuple(1000.0 * int(clocks[core]) for core in sorted(clocks)) if known else None,
        temperature_c=_hal_temperatures(text) or _zones(files) or None,
        thermal_status=int(status[1]) if status else None,
        load_1min=float(load.split()[0]) if load else None,
        charging=charging,
        battery_percent=percent,
    )


def time_in_state(shell: Shell, system: str = _SYSTEM) -> TimeInState | None:
    """How long each core was at each clock. None where the device does not keep count (few machines but phones do)."""
    text = shell.run(["sh", "-c", _TIMES.format(system=system)]).stdout
    found: TimeInState = {}
    for part in text.split("::")[1:]:
        path, *lines = part.splitlines()
        core = re.search(r"/cpu(\d+)/", path)
        pairs = [line.split() for line in lines]
        if core and pairs and all(len(pair) == 2 and pair[0].isdigit() and pair[1].isdigit() for pair in pairs):
            found[int(core[1])] = {1000 * int(clock): int(ticks) for clock, ticks in pairs}
    return found or None


def mean_clock(before: TimeInState | None, after: TimeInState | None) -> tuple[float, ...] | None:
    """Each core's mean clock between two calls of `time_in_state`, in hertz. None where that cannot be told."""
    if before is None or after is None or before.keys() != after.keys():
        return None
    means = []
    for core in sorted(after):
        spent = {clock: ticks - before[core].get(clock, 0) for clock, ticks in after[core].items()}
        total = sum(spent.values())
        if total <= 0 or min(spent.values()) < 0:
            return None
        means.append(sum(clock * ticks for clock, ticks in spent.items()) / total)
    return tuple(means)


def _by_core(files: dict[str, str], name: str) -> dict[int, str]:
    """The text of each core's file `name`."""
    found = ((re.search(rf"/cpu(\d+)/{name}$", path), text) for path, text in files.items())
    return {int(core[1]): text for core, text in found if core}


def _zones(files: dict[str, str]) -> dict[str, float]:
    """Linux' thermal zones, which count in thousandths of a degree. Of several with one name, the hottest."""
    zones: dict[str, float] = {}
    for path, kind in files.items():
        text = files.get(f"{path.removesuffix('/type')}/temp") if "/thermal_zone" in path and path.endswith("/type") else None
        if text is not None and text.lstrip("-").isdigit():
            zones[kind] = max(zones.get(kind, -300.0), int(text) / 1000)
    return zones


def _hal_temperatures(text: str) -> dict[str, float]:
    """What Android's sensors say now; the cached ones above them may be old."""
    block = _HAL.search(text)
    found = _TEMPERATURE.findall(block[1]) if block else []
    return {name: float(value) for value, kind, name in found if kind not in _CURRENTS}


def _android_battery(text: str) -> tuple[bool | None, float | None] | None:
    _, found, report = text.partition("Current Battery Service state:")
    if not found:
        return None
    facts = dict(re.findall(r"^  ([\w ]+): (\S+)", report, re.MULTILINE))
    level = facts.get("level")
    fed = any(value == "true" for key, value in facts.items() if key.endswith("powered"))
    percent = 100 * float(level) / float(facts.get("scale", 100)) if level is not None else None
    return fed or facts.get("status") not in ("3", None), percent


def _linux_battery(files: dict[str, str]) -> tuple[bool | None, float | None]:
    """Of the machine's battery; a mouse's or a keyboard's has the scope Device."""
    for path, kind in files.items():
        supply = path.removesuffix("/type")
        if "/power_supply/" in path and kind == "Battery" and files.get(f"{supply}/scope") != "Device":
            status, percent = files.get(f"{supply}/status"), files.get(f"{supply}/capacity")
            return (status != "Discharging" if status else None), (float(percent) if percent else None)
    return None, None
