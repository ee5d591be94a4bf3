"""A device whose trials are workers: processes of its own that run `profiling/worker.py`, on this machine or another."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.devices import Device, Facts
from edgekit.devices.link.tape import Tape
from edgekit.devices.link.worker_trial import WorkerTrial
from edgekit.profiling import plan
from edgekit.profiling.process import Worker
from edgekit.profiling.roofline import Peak
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject


class WorkerDevice(Device):
    """Every trial is a process of its own, pinned where one thread is asked for."""

    itself = "this machine"

    def __init__(self, name: str, tape: Tape) -> None:
        self.name, self.tape = name, tape

    @abstractmethod
    def _worker(self, subject: str, threads: int) -> Worker:
        """A fresh worker there."""

    @abstractmethod
    def _told(self) -> dict[str, Any]:
        """What `machine.told` gives there."""

    @abstractmethod
    def _measured_peak(self, threads: int, cores: tuple[int, ...] | None) -> Peak:
        """The best it does, measured with these threads and cores."""

    def _opens(self, subject: Subject) -> str | Path:
        """What a worker is told to open. Raises Unsupported for what cannot be opened there."""
        return subject.opens

    def check(self, settings: Settings) -> None:
        settings.check_cores(self.tape.exchange({"usable_cores": True}, lambda: self._told()["usable"]), self.itself)

    def facts(self) -> Facts:
        told = self.tape.exchange({"facts": True}, lambda: self._told()["facts"])
        return Facts(**{**told, "cpu_flags": told["cpu_flags"] and tuple(told["cpu_flags"])})

    def plan(self, settings: Settings) -> plan.Plan:
        return plan.of(settings)

    def start(self, subject: Subject, settings: Settings, *, cold: bool) -> WorkerTrial:
        return WorkerTrial(
            lambda: self._worker(subject.name, settings.threads),
            self.tape,
            subject,
            settings,
            opens=self._opens(subject),
            cores=self._cores(settings),
            cold=cold,
        )

    def peak(self, settings: Settings) -> Peak | None:
        cores = self._cores(settings)
        told = self.tape.exchange({"peak": settings.threads}, lambda: asdict(self._measured_peak(settings.threads, cores)))
        return Peak(**told)

    def _cores(self, settings: Settings) -> tuple[int, ...] | None:
        if settings.cores or settings.threads > 1:
            return settings.cores
        core = self.tape.exchange({"fastest_core": True}, lambda: self._told()["fastest_core"])
        return None if core is None else (core,)
