"""The machine edgekit runs on."""

from __future__ import annotations

from typing import Any

from edgekit import profiles
from edgekit.devices import Connected
from edgekit.devices.link.shell import LocalShell
from edgekit.devices.link.tape import Tape, TapedShell
from edgekit.devices.link.worker_device import WorkerDevice
from edgekit.profiling import machine, roofline
from edgekit.profiling.process import Worker


class HostDevice(WorkerDevice):
    """Workers are its own processes."""

    def __init__(self, name: str, tape: Tape) -> None:
        super().__init__(name, tape)
        self.shell = TapedShell(LocalShell(), tape)

    def _worker(self, subject: str, threads: int) -> Worker:
        return Worker(subject, threads=threads)

    def _told(self) -> dict[str, Any]:
        return machine.told()

    def _measured_peak(self, threads: int, cores: tuple[int, ...] | None) -> roofline.Peak:
        return roofline.of_machine(threads, cores)


def connect(name: str, address: str, tape: Tape) -> HostDevice:
    """This machine."""
    return HostDevice(name, tape)


def connected() -> list[Connected]:
    """This machine, always."""
    return [Connected(profiles.HOST, machine.cpu() or machine.os_name())]
