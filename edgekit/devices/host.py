"""The machine edgekit runs on."""

from __future__ import annotations

from dataclasses import asdict

from edgekit import profiles
from edgekit.devices import Connected, Device, Facts
from edgekit.devices.link.shell import LocalShell
from edgekit.devices.link.tape import Tape, TapedShell
from edgekit.devices.link.worker_trial import WorkerTrial
from edgekit.errors import UsageError
from edgekit.profiling import machine, plan, roofline
from edgekit.profiling.process import Worker
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject


class HostDevice(Device):
    """Every trial is a process of its own, pinned where one thread is asked for."""

    def __init__(self, name: str, tape: Tape) -> None:
        self.name, self.tape = name, tape
        self.shell = TapedShell(LocalShell(), tape)

    def check(self, settings: Settings) -> None:
        usable = self.tape.exchange({"usable_cores": True}, machine.usable)
        if settings.threads > len(usable):
            raise UsageError(
                f"cannot measure with {settings.threads} threads",
                cause=f"this machine lets edgekit use {len(usable)} core{'s' if len(usable) > 1 else ''}",
                next_step=f"give a number of threads between 1 and {len(usable)}",
            )
        if settings.cores and not set(settings.cores) <= set(usable):
            raise UsageError(
                f"cannot measure on the cores {', '.join(map(str, settings.cores))}",
                cause=f"this machine lets edgekit use {', '.join(map(str, usable))}",
                next_step="choose among those",
            )

    def facts(self) -> Facts:
        told = self.tape.exchange({"facts": True}, lambda: asdict(_facts()))
        return Facts(**{**told, "cpu_flags": told["cpu_flags"] and tuple(told["cpu_flags"])})

    def plan(self, settings: Settings) -> plan.Plan:
        return plan.of(settings)

    def start(self, subject: Subject, settings: Settings, *, cold: bool) -> WorkerTrial:
        return WorkerTrial(
            lambda: Worker(subject.name, threads=settings.threads),
            self.tape,
            subject,
            settings,
            opens=subject.opens,
            cores=self._cores(settings),
            cold=cold,
        )

    def peak(self, settings: Settings) -> roofline.Peak | None:
        cores = self._cores(settings)
        told = self.tape.exchange({"peak": settings.threads}, lambda: asdict(self._measured_peak(settings.threads, cores)))
        return roofline.Peak(**told)

    def _measured_peak(self, threads: int, cores: tuple[int, ...] | None) -> roofline.Peak:
        return roofline.of_machine(threads, cores)

    def _cores(self, settings: Settings) -> tuple[int, ...] | None:
        if settings.cores or settings.threads > 1:
            return settings.cores
        core = self.tape.exchange({"fastest_core": True}, machine.fastest_core)
        return None if core is None else (core,)


def _facts() -> Facts:
    return Facts(
        os=machine.os_name(),
        hardware=machine.cpu(),
        cpu=machine.cpu(),
        cpu_flags=machine.cpu_flags(),
        cores=machine.usable_cores(),
    )


def connect(name: str, address: str, tape: Tape) -> HostDevice:
    """This machine."""
    return HostDevice(name, tape)


def connected() -> list[Connected]:
    """This machine, always."""
    return [Connected(profiles.HOST, machine.cpu() or machine.os_name())]
