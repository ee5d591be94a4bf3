"""Apple Silicon Macs: the processor's own counters by part, the Neural Engine's among them, through Zeus' `zeus-apple-silicon`.

Unverified on hardware.
"""

from __future__ import annotations

from edgekit.devices.link.shell import Shell
from edgekit.profiling.energy import Meter, NotMeasured, absent
from edgekit.profiling.energy._program import ProgramMeter
from edgekit.profiling.measurement import Energy

_NAME = "apple_silicon"
# Clusters and cores are parts of `cpu_total_mj`; a part that a chip does not count is None.
_PROGRAM = """
import json, time
try:
    from zeus_apple_silicon import AppleEnergyMonitor
    counted = AppleEnergyMonitor().get_cumulative_energy()
    names = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "ane_mj", "dram_mj")
    parts = {name[:-3]: value for name in names if (value := getattr(counted, name, None)) is not None}
    print(json.dumps({"joules": sum(parts.values()) / 1000, "at_s": time.monotonic(), "parts": list(parts)}))
except Exception as error:
    print(json.dumps({"error": type(error).__name__ + ": " + str(error)}))
"""


def find(shell: Shell) -> Meter | Energy | None:
    """The chip's counters, on a Mac that has them."""
    if shell.run(["uname", "-sm"]).stdout.split() != ["Darwin", "arm64"]:
        return None
    meter = AppleSilicon(shell)
    try:
        parts = meter.ask()["parts"]
    except NotMeasured as absence:
        return absent(_NAME, absence.status, absence.reason)
    if not parts:
        return absent(_NAME, "no_counter", "this chip counts none of its parts' energy")
    meter.scope = f"chip: {', '.join(parts)}"
    return meter


class AppleSilicon(ProgramMeter):
    """All parts of the chip that it counts, added."""

    name = _NAME
    scope = "chip"
    method = "IOReport's energy counters, through zeus-apple-silicon; read before and after"
    update_interval_s = 0.1
    program = _PROGRAM

    def lost(self, error: str) -> NotMeasured:
        if error.startswith("ModuleNotFoundError"):
            return NotMeasured("no_counter", "the Mac's energy counters are read through Zeus: pip install zeus-apple-silicon")
        return super().lost(error)
