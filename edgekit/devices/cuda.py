"""An NVIDIA GPU of this machine: `cuda`, or `cuda:1` for the second. PyTorch is timed with CUDA events.

Unverified on hardware.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.devices import Connected, Facts
from edgekit.devices.host import HostDevice
from edgekit.devices.link.shell import LocalShell, Shell
from edgekit.devices.link.tape import Tape, TapedShell
from edgekit.devices.link.worker_trial import WorkerTrial
from edgekit.errors import Unsupported, UsageError
from edgekit.profiling import roofline
from edgekit.profiling.process import Worker
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject

_LIST_S = 5.0


@dataclass(frozen=True)
class _Gpu:
    index: int
    name: str
    driver: str


class CudaDevice(HostDevice):
    """Processes of this machine that compute on one of its GPUs."""

    def __init__(self, name: str, index: int, tape: Tape) -> None:
        super().__init__(name, tape)
        found = {gpu.index: gpu for gpu in _gpus(TapedShell(LocalShell(), tape))}
        if index not in found:
            has = (
                f"it has {', '.join(f'{one.index} ({one.name})' for one in found.values())}"
                if found
                else "nvidia-smi lists none"
            )
            raise Unsupported(
                f"this machine has no NVIDIA GPU {index}",
                cause=has,
                next_step="give cuda:INDEX of one it has, or measure on host",
            )
        self._gpu, self.gpu_index = found[index], index

    def facts(self) -> Facts:
        host = super().facts()
        gpu = f"{self._gpu.name}, driver {self._gpu.driver}"
        return Facts(host.os, self._gpu.name, host.cpu, host.cpu_flags, host.cores, gpu)

    def start(self, subject: Subject, settings: Settings, *, cold: bool) -> WorkerTrial:
        return WorkerTrial(
            lambda: Worker(subject.name, threads=settings.threads),
            self.tape,
            subject,
            settings,
            opens=subject.opens,
            cores=self._cores(settings),
            cold=cold,
            gpu=self._gpu.index,
        )

    def _measured_peak(self, threads: int, cores: tuple[int, ...] | None) -> roofline.Peak:
        return roofline.of_gpu(self._gpu.index, self._gpu.name)


def _gpus(shell: Shell) -> list[_Gpu]:
    """What `nvidia-smi` lists; none where there is no such command."""
    asked = ["nvidia-smi", "--query-gpu=index,name,driver_version", "--format=csv,noheader"]
    done = shell.run(asked, limit_s=_LIST_S)
    if done.code != 0:
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    return [_Gpu(int(row[0]), row[1], row[2]) for row in rows if len(row) == 3 and row[0].isdigit()]


def connect(name: str, address: str, tape: Tape) -> CudaDevice:
    """The GPU of that index, the first where none is given."""
    if address and not address.isdigit():
        raise UsageError(f"{name} names no GPU", next_step="give cuda, or cuda:1 for the second")
    return CudaDevice(name, int(address or 0), tape)


def connected() -> list[Connected]:
    """The GPUs of this machine."""
    return [Connected(f"cuda:{gpu.index}", f"{gpu.name}, driver {gpu.driver}") for gpu in _gpus(LocalShell())]
