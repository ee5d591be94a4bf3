"""RAPL: what Intel and AMD processors count themselves, through Linux' powercap (`Documentation/power/powercap`).

A package's counter excludes memory, which has a counter of its own below it on servers. `psys`, the whole platform's, needs the
maker's calibration and overlaps the packages: it is never added.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekit.devices.link.shell import Shell
from edgekit.profiling.energy import Meter, NotMeasured, Reading, absent
from edgekit.profiling.measurement import Energy

_NAME = "rapl"
_POWERCAP = "/sys/class/powercap"
_ZONES = f"{_POWERCAP}/intel-rapl:*"
_ZONE = re.compile(r"(intel-rapl:\d+(?::\d+)?)/(name|max_energy_range_uj):(.*)")
_MOST_W = 1000.0
"""No package takes more: a counter that moved faster was set back, and not wrapped."""


@dataclass(frozen=True)
class Zone:
    """One counter."""

    path: str
    range_uj: int
    """It wraps to zero past this."""


def find(shell: Shell) -> Meter | Energy | None:
    """The packages' counters, and their memory's where all have one."""
    listed = shell.run(["sh", "-c", f"grep -H . {_ZONES}/name {_ZONES}/max_energy_range_uj"])
    facts: dict[str, dict[str, str]] = {}
    for zone, key, value in _ZONE.findall(listed.stdout):
        facts.setdefault(zone, {})[key] = value.strip()
    packages = [zone for zone, fact in facts.items() if zone.count(":") == 1 and fact.get("name", "").startswith("package")]
    if not packages:
        return _none(shell)
    memories = [zone for zone, fact in facts.items() if fact.get("name") == "dram" and zone.rpartition(":")[0] in packages]
    with_memory = len(memories) == len(packages)
    zones = [
        Zone(f"{_POWERCAP}/{zone}/energy_uj", int(facts[zone].get("max_energy_range_uj", 0)))
        for zone in packages + (memories if with_memory else [])
    ]
    platform = any(fact.get("name") == "psys" for fact in facts.values())
    meter = Rapl(shell, zones, packages=len(packages), with_memory=with_memory, platform=platform)
    try:
        meter.read()
    except NotMeasured as absence:
        return absent(_NAME, absence.status, absence.reason)
    return meter


class Rapl(Meter):
    """The sum of `zones`."""

    name = _NAME
    update_interval_s = 0.001

    def __init__(self, shell: Shell, zones: list[Zone], *, packages: int, with_memory: bool, platform: bool) -> None:
        super().__init__(shell)
        self._zones = zones
        self.scope = "package and memory" if with_memory else "package"
        self.longest_window_s = min(zone.range_uj for zone in zones) / 1e6 / _MOST_W
        self.method = (
            f"RAPL energy_uj of {packages} package{'s' if packages > 1 else ''}"
            + (", memory's counters added" if with_memory else ", memory not counted")
            + (", psys there and left out" if platform else "")
            + "; read before and after"
        )
        self._last: tuple[float, list[int]] | None = None
        self._joules = 0.0

    def read(self) -> Reading:
        done = self.shell.run(["cat", "/proc/uptime", *(zone.path for zone in self._zones)])
        if done.code != 0 and "ermission" not in done.stderr:
            raise NotMeasured("no_counter", f"the processor's energy counters cannot be read any more: {done.stderr.strip()}")
        if done.code != 0:
            raise NotMeasured(
                "permission_denied",
                "the processor's energy counters are root's only (since CVE-2020-8694): `sudo chmod a+r "
                f"{_ZONES}/energy_uj` opens them until the next boot",
            )
        uptime, *counts = done.stdout.split("\n")
        at_s, counts_uj = float(uptime.split()[0]), [int(count) for count in counts if count]
        if self._last is not None:
            before_s, before_uj = self._last
            passed = zip(before_uj, counts_uj, self._zones, strict=True)
            moved = [passed_joules(was_uj, now_uj, zone.range_uj) for was_uj, now_uj, zone in passed]
            # The clock counts hundredths of a second: a tenth more, or two readings in a row could seem too fast.
            if max(moved) > _MOST_W * (at_s - before_s + 0.1) and at_s - before_s < self.longest_window_s:
                raise NotMeasured("counter_static", "the counter was set back meanwhile, as sleep does: measure again")
            self._joules += sum(moved)
        self._last = at_s, counts_uj
        return Reading(self._joules, at_s)


def passed_joules(before_uj: int, after_uj: int, range_uj: int) -> float:
    """Between two readings of a counter that wraps to zero past `range_uj`, at most once meanwhile."""
    return (after_uj - before_uj if after_uj >= before_uj else after_uj - before_uj + range_uj) / 1e6


def _none(shell: Shell) -> Energy | None:
    if shell.run(["uname", "-sm"]).stdout.split() != ["Linux", "x86_64"]:
        return None  # other processors have no RAPL
    virtual = shell.run(["grep", "-qw", "hypervisor", "/proc/cpuinfo"]).code == 0
    because = (
        "this is a virtual machine, and its host keeps the processor's energy counters (RAPL) to itself: measure on the host"
        if virtual
        else f"no energy counter of the processor (RAPL) in {_POWERCAP}: `sudo modprobe intel_rapl_msr` may bring it up"
    )
    return absent(_NAME, "no_counter", because)
