"""A trial over a worker: a process that answers `open`, `warm_up`, `block`, `run_for`, `operators` and `finish`
(`profiling/worker.py`), here or on another machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.devices import Block, Opened, Trial
from edgekit.devices.link.tape import Tape
from edgekit.profiling.measurement import DeviceParity, Memory, OperatorProfile, OperatorTime
from edgekit.profiling.process import Asked
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject
from edgekit.profiling.timing import WarmUp


class WorkerTrial(Trial):
    """`start` gives the worker, `opens` what it is told to open; nothing is started where a tape is replayed."""

    def __init__(
        self,
        start: Callable[[], Asked],
        tape: Tape,
        subject: Subject,
        settings: Settings,
        *,
        opens: str | Path,
        cores: tuple[int, ...] | None,
        cold: bool,
        gpu: int | None = None,
    ) -> None:
        self._start, self._tape, self._label = start, tape, subject.label
        self._sustained = settings.mode == "sustained"
        self._worker: Asked | None = None
        self.cores = cores
        try:
            answer = self._ask(
                "open",
                {"subject": opens},
                threads=settings.threads,
                spinning=settings.spinning,
                cores=cores,
                shapes=subject.shapes,
                batch=subject.batch,
                cold=cold,
                **({} if gpu is None else {"gpu": gpu}),
                **({"data": subject.data} if subject.data else {}),
            )
        except BaseException:
            self.close()
            raise
        answer["input_shapes"] = {name: tuple(shape) for name, shape in answer["input_shapes"].items()}
        parity = answer.pop("parity", None)
        self.opened = Opened(**answer, parity=DeviceParity(**parity) if parity else None)

    def _ask(self, command: str, local: dict[str, object] | None = None, **arguments: object) -> Any:
        """`local` arguments hold paths of this session: they are not part of what a tape compares."""

        def perform() -> Any:
            if self._worker is None:
                self._worker = self._start()
            return self._worker.ask(command, **(local or {}), **arguments)

        return self._tape.exchange({"subject": self._label, "do": command, **arguments}, perform)

    def warm_up(self) -> WarmUp:
        return WarmUp(**self._ask("warm_up"))

    def block(self, duration_s: float) -> Block:
        answer = self._ask("block", duration_s=duration_s, whole=self._sustained)
        waited_s = answer.get("waited_s")  # recordings made before there was one lack it
        return Block(tuple(answer["latency_s"]), answer["waited_share"], None if waited_s is None else tuple(waited_s))

    def run_for(self, duration_s: float) -> int:
        return int(self._ask("run_for", duration_s=duration_s))

    def finish(self) -> Memory:
        return Memory(**self._ask("finish"))

    def operators(self) -> OperatorProfile:
        answer = self._ask("operators")
        return OperatorProfile(**{**answer, "operators": tuple(OperatorTime(**told) for told in answer["operators"])})

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
