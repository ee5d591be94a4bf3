"""An NVIDIA GPU of this machine: `cuda`, or `cuda:1` for the second of those that CUDA_VISIBLE_DEVICES leaves. PyTorch is
timed with CUDA events.

Unverified on hardware.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
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
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_WHOLE = re.compile(r"\s*(\d+)")


@dataclass(frozen=True)
class _Gpu:
    index: int
    """As `nvidia-smi` and NVML count, which know nothing of CUDA_VISIBLE_DEVICES."""
    name: str
    driver: str
    uuid: str


class CudaDevice(HostDevice):
    """Processes of this machine that compute on one of its GPUs."""

    def __init__(self, name: str, index: int, tape: Tape) -> None:
        super().__init__(name, tape)
        seen = tape.exchange({"environment": _VISIBLE}, lambda: os.environ.get(_VISIBLE))
        listed = _gpus(TapedShell(LocalShell(), tape))
        found = visible(listed, seen)
        if index >= len(found):
            has = ", ".join(f"{place} ({gpu.name})" for place, gpu in enumerate(found)) or "none"
            left = "" if seen is None else f", of which {_VISIBLE}={seen} leaves {has}"
            raise Unsupported(
                f"this machine has no NVIDIA GPU {index}",
                cause=f"nvidia-smi lists {', '.join(f'{gpu.index} ({gpu.name})' for gpu in listed) or 'none'}{left}",
                next_step="give cuda:INDEX of one it has, or measure on host",
            )
        self._index, self._gpu, self.gpu_index = index, found[index], found[index].index

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
            gpu=self._index,
        )

    def _measured_peak(self, threads: int, cores: tuple[int, ...] | None) -> roofline.Peak:
        return roofline.of_gpu(self._index, self._gpu.name)


def visible(gpus: Sequence[_Gpu], told: str | None) -> list[_Gpu]:
    """Those that CUDA sees of all `gpus`, in the order in which it counts them, where CUDA_VISIBLE_DEVICES is `told` (None: not
    set): indices or starts of UUIDs with commas between, up to the first that is no GPU (CUDA C++ Programming Guide, "CUDA
    Environment Variables"). A GPU named twice leaves none, as PyTorch reads it. Parts of a GPU (MIG) are not told apart.
    """
    if told is None:
        return list(gpus)
    found: list[_Gpu] = []
    for word in told.split(","):
        index = _WHOLE.match(word)
        meant = [gpu for gpu in gpus if (gpu.index == int(index[1]) if index else _starts(gpu, word.strip()))]
        if len(meant) != 1:
            break
        if meant[0] in found:
            return []
        found += meant
    return found


def _starts(gpu: _Gpu, uuid: str) -> bool:
    return uuid.startswith("GPU-") and gpu.uuid.startswith(uuid)


def _gpus(shell: Shell) -> list[_Gpu]:
    """What `nvidia-smi` lists; none where there is no such command."""
    asked = ["nvidia-smi", "--query-gpu=index,name,driver_version,uuid", "--format=csv,noheader"]
    done = shell.run(asked, limit_s=_LIST_S)
    if done.code != 0:
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    return [_Gpu(int(row[0]), *row[1:]) for row in rows if len(row) == 4 and row[0].isdigit()]


def connect(name: str, address: str, tape: Tape) -> CudaDevice:
    """The GPU of that index, as CUDA counts; the first where none is given."""
    if address and not address.isdigit():
        raise UsageError(f"{name} names no GPU", next_step="give cuda, or cuda:1 for the second")
    return CudaDevice(name, int(address or 0), tape)


def connected() -> list[Connected]:
    """The GPUs of this machine that CUDA sees."""
    found = visible(_gpus(LocalShell()), os.environ.get(_VISIBLE))
    return [Connected(f"cuda:{place}", f"{gpu.name}, driver {gpu.driver}") for place, gpu in enumerate(found)]
