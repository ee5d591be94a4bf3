"""NVML: what an NVIDIA GPU (Volta and newer) counts of itself since its driver was loaded, by `pynvml` of nvidia-ml-py."""

from __future__ import annotations

from edgekit.devices.link.shell import Shell
from edgekit.profiling.energy import Meter, NotMeasured, absent
from edgekit.profiling.energy._program import ProgramMeter
from edgekit.profiling.measurement import Energy

_NAME = "nvml"
_PROGRAM = """
import json, sys, time
try:
    import pynvml
    pynvml.nvmlInit()
    gpu = pynvml.nvmlDeviceGetHandleByIndex(int(sys.argv[1]))
    joules = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000
    print(json.dumps({"joules": joules, "at_s": time.monotonic(), "gpu": str(pynvml.nvmlDeviceGetName(gpu))}))
except Exception as error:
    print(json.dumps({"error": type(error).__name__ + ": " + str(error)}))
"""


def find(shell: Shell, gpu: int) -> Meter | Energy:
    """The GPU of that index, as `nvidia-smi` counts them."""
    meter = Nvml(shell, gpu)
    try:
        answer = meter.ask()
    except NotMeasured as absence:
        return absent(_NAME, absence.status, absence.reason)
    meter.method = f"total energy counter of {answer['gpu']}, through NVML; read before and after"
    return meter


class Nvml(ProgramMeter):
    """One GPU: its processor, memory and board."""

    name = _NAME
    scope = "gpu"
    method = "total energy counter, through NVML; read before and after"
    update_interval_s = 0.1
    program = _PROGRAM

    def __init__(self, shell: Shell, gpu: int) -> None:
        super().__init__(shell)
        self.arguments = (str(gpu),)

    def lost(self, error: str) -> NotMeasured:
        if error.startswith("ModuleNotFoundError"):
            return NotMeasured("no_counter", "NVML's Python library is not installed: pip install 'edgekit[cuda]'")
        if "NoPermission" in error:
            return NotMeasured("permission_denied", "NVML lets this user read no energy: run as root")
        if "NotSupported" in error:
            return NotMeasured("no_counter", "this GPU counts no energy (Volta and newer ones do; some virtual GPUs do not)")
        return NotMeasured("no_counter", f"NVML finds no NVIDIA GPU here ({error}): does `nvidia-smi` work?")
