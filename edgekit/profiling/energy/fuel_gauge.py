"""A battery's fuel gauge: current by voltage of the whole device, sampled while it runs. A charger falsifies it.

Gauges follow a load late (up to 7 s seen on a phone) and renew their current every few seconds: windows of a minute. A loop on
the device itself samples into a file, so that nothing crosses the link during the runs. Unverified on hardware.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from types import TracebackType

from edgekit.devices.link.shell import Shell
from edgekit.profiling.energy import Meter, NotMeasured, Reading, absent
from edgekit.profiling.measurement import Energy

_NAME = "fuel_gauge"
_PERIOD_S = 3
_MOST_SAMPLES = 600
_TRIES = 5
_LEAST_A = 0.01
"""A device that runs draws more: a gauge that says less does not count in microamperes, as it should."""
_UNPLUG = (
    "a charger feeds the device, and its battery's gauge tells nothing then: unplug it (a phone on a USB cable: "
    "`adb tcpip 5555`, `adb connect ADDRESS`, then take the cable out)"
)
_BATTERIES = (
    'for s in {supplies}/*; do [ "$(cat $s/type)" = Battery ] && [ "$(cat $s/scope)" != Device ] && echo $s; done 2>/dev/null'
)
_LINUX = "for k in status current_now voltage_now power_now; do echo $k=$(cat {battery}/$k 2>/dev/null); done"
# Under the names that Linux has for them; its voltage is in millivolts, its status a number (3: discharging).
_ANDROID = (
    "dumpsys battery | "
    "sed -n -e 's/^  status: /status=/p' -e 's/^  voltage: /voltage_mv=/p' -e 's/^  .* powered: true/powered=1/p'; "
    "echo current_now=$(cat /sys/class/power_supply/battery/current_now 2>/dev/null || cmd battery get -f current_now)"
)
_FILE = "d=/data/local/tmp; [ -w $d ] || d=${XDG_RUNTIME_DIR:-${TMPDIR:-${HOME:-/tmp}}}; f=$d/edgekit-fuel-gauge; "


@dataclass(frozen=True)
class Sample:
    """What the gauge said at a moment."""

    at_s: float
    watts: float | None
    """None for a reading that failed: some gauges answer zero now and then."""
    amperes: float | None
    charging: bool


def find(shell: Shell, supplies: str = "/sys/class/power_supply") -> Meter | Energy | None:
    """The battery of an Android phone or of a Linux machine. `supplies` is the folder of Linux' power supplies."""
    if shell.run(["dumpsys", "battery"]).code == 0:
        script = _ANDROID
    else:
        batteries = shell.run(["sh", "-c", _BATTERIES.format(supplies=supplies)]).stdout.split()
        if not batteries:
            return None
        if len(batteries) > 1:
            return absent(_NAME, "no_counter", f"{len(batteries)} batteries share the load, and edgekit reads one")
        script = _LINUX.format(battery=batteries[0])
    meter = FuelGauge(shell, script)
    try:
        [sample] = meter.samples(meter.sample_script)
    except NotMeasured as absence:
        return absent(_NAME, absence.status, absence.reason)
    if sample.amperes is None and sample.watts is None:
        return absent(_NAME, "no_counter", "the battery's fuel gauge tells this user no current")
    if sample.amperes is not None and 0 < sample.amperes < _LEAST_A:
        return absent(
            _NAME,
            "no_counter",
            f"the battery's fuel gauge says {sample.amperes * 1e6:.0f} microamperes for the whole device: that is another unit",
        )
    return meter


class FuelGauge(Meter):
    """Power by time, added up over the samples."""

    name = _NAME
    scope = "whole device"
    method = f"battery current by voltage, sampled every {_PERIOD_S} s by a loop on the device, trapezoids"
    update_interval_s = float(_PERIOD_S)
    settle_s = 8.0

    def __init__(self, shell: Shell, script: str) -> None:
        super().__init__(shell)
        self.sample_script = f"echo uptime=$(cat /proc/uptime); {script}"
        self._points: set[tuple[float, float]] = set()
        self._begun_s: float | None = None

    def __enter__(self) -> Meter:
        self._points, self._begun_s = set(), None
        loop = f"n=0; while [ $n -lt {_MOST_SAMPLES} ]; do {self.sample_script}; sleep {_PERIOD_S}; n=$((n+1)); done"
        self.shell.run(["sh", "-c", f"{_FILE} rm -f $f; ({loop}) >$f 2>/dev/null </dev/null & echo $! >$f.pid"])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.shell.run(["sh", "-c", f"{_FILE} kill $(cat $f.pid); rm -f $f $f.pid"])

    def read(self) -> Reading:
        for _ in range(_TRIES):
            *looped, now = self.samples(f"{_FILE} cat $f; {self.sample_script}")
            if now.watts is not None:
                break
            self.rest(1)
        else:
            raise NotMeasured("counter_static", "the battery's fuel gauge answers zero time and again")
        self._points |= {(sample.at_s, sample.watts) for sample in (*looped, now) if sample.watts is not None}
        # The first reading is where the count begins; what the loop sampled before it does not belong to any window.
        self._begun_s = now.at_s if self._begun_s is None else self._begun_s
        counted = sorted(point for point in self._points if point[0] >= self._begun_s)
        joules = sum((then_s - at_s) * (watts + then) / 2 for (at_s, watts), (then_s, then) in itertools.pairwise(counted))
        return Reading(joules, now.at_s)

    def samples(self, script: str) -> list[Sample]:
        """What `script` prints of the gauge. Raises NotMeasured where a charger fed the device."""
        done = self.shell.run(["sh", "-c", script])
        samples = [_sample(text) for text in done.stdout.split("uptime=") if text[:1].isdigit()]
        if not samples:
            raise NotMeasured("no_counter", "the battery's fuel gauge cannot be read any more")
        if any(sample.charging for sample in samples):
            raise NotMeasured("charging", _UNPLUG)
        return samples


def _sample(text: str) -> Sample:
    uptime, *lines = text.splitlines()
    found = {key: value.strip() for key, _, value in (line.partition("=") for line in lines)}
    amperes = _number(found.get("current_now"), 1e6)
    volts = _number(found.get("voltage_mv"), 1e3) or _number(found.get("voltage_now"), 1e6)
    watts = _number(found.get("power_now"), 1e6)
    if watts is None and amperes is not None and volts is not None:
        watts = amperes * volts
    status = found.get("status", "")
    charging = "powered" in found or status not in ("", "3", "Discharging")
    return Sample(float(uptime.split()[0]), watts or None, amperes, charging)


def _number(text: str | None, a_unit: float) -> float | None:
    """The size of an integer in millionths or thousandths: its sign differs from maker to maker."""
    return abs(int(text)) / a_unit if text is not None and text.lstrip("-").isdigit() else None
