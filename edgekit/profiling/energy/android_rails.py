"""Android's on-device power monitor (Pixel 6 and newer): joules of each supply rail, counted in the power management chip.

`dumpsys powerstats` lists the rails, but not what they counted; the hardware's service beneath it prints that, asked by its own
name. It rounds to single precision: a rail that counted 100 kJ since the phone started moves in steps of 8 mJ.
Unverified on hardware.
"""

from __future__ import annotations

import re

from edgekit.devices.link.shell import Shell
from edgekit.profiling.energy import Meter, NotMeasured, Reading, absent
from edgekit.profiling.measurement import Energy

_NAME = "android_rails"
_READ = "cat /proc/uptime; dumpsys android.hardware.power.stats.IPowerStats/default"
_TABLE = "PowerStats HAL 2.0 energy meter"
_ROW = re.compile(r"^\s*\[(?P<rail>[^\]]+)\]:(?P<part>\S+)\s+(?P<mws>\d+(?:\.\d+)?) mWs", re.MULTILINE)
_LISTED = re.compile(r"ChannelName: (\S+), ChannelSubsystem: (\S+)")
_COMPUTES = re.compile(r"CPU|GPU|G3D|TPU|MIF|_INT\b|_INT_|SLC|MEM|VDD2|DDR", re.IGNORECASE)
"""Rails that a model's runs load: processors, memory and what connects them. Display, radios and cameras are left out."""


def find(shell: Shell) -> Meter | Energy | None:
    """The rails of the processors and the memory."""
    listed = shell.run(["dumpsys", "powerstats"])
    if listed.code == 127:
        return None  # no Android
    names = _LISTED.findall(listed.stdout)
    meter = AndroidRails(shell)
    try:
        counted = meter.ask()[1]
    except NotMeasured as absence:
        if names:
            return absent(
                _NAME,
                "permission_denied",
                f"this phone has {len(names)} power rails that adb's user may not read: `adb root` may, on a userdebug build",
            )
        return absent(_NAME, absence.status, absence.reason)
    if not counted:
        return absent(_NAME, "no_counter", "none of this phone's power rails is a processor's or the memory's")
    meter.method = f"on-device power monitor, rails {', '.join(sorted(counted))}; read before and after"
    return meter


class AndroidRails(Meter):
    """The sum of the rails that compute."""

    name = _NAME
    scope = "rails of processors and memory"
    method = "on-device power monitor; read before and after"
    update_interval_s = 0.5
    """The driver renews after 20 of the chip's samples, which a phone takes 8 to 1000 times a second."""

    def read(self) -> Reading:
        at_s, rails = self.ask()
        return Reading(sum(rails.values()), at_s)

    def ask(self) -> tuple[float, dict[str, float]]:
        """The phone's clock, and joules by rail. Raises NotMeasured where the phone prints no such table."""
        done = self.shell.run(["sh", "-c", _READ])
        uptime, found, table = done.stdout.partition(_TABLE)
        at_s = re.match(r"\d+\.\d+", uptime)
        if not found or not at_s:
            raise NotMeasured("no_counter", "this phone has no power rails to read (Pixel 6 and newer have)")
        table = table.partition("End of " + _TABLE)[0]
        rails = {
            row["rail"]: float(row["mws"]) / 1000
            for row in _ROW.finditer(table)
            if _COMPUTES.search(f"{row['rail']} {row['part']}")
        }
        return float(at_s[0]), rails
