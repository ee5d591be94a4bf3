"""The machine edgekit runs on.

Every subject gets fresh processes, one after another; those of different subjects live side by side and take turns,
block by block in random order, one running at a time, so that drift of the machine hits all subjects alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import random
import statistics
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.profiling import machine, roofline
from edgekit.profiling.measurement import Measurement, Process
from edgekit.profiling.process import Worker
from edgekit.profiling.subject import Subject, describe
from edgekit.profiling.summary import summarize

_PROCESSES = 2
_BLOCK_S = 0.25
_LEAST_BLOCKS = 5
_ORDER_SEED = 0


@dataclass(frozen=True)
class _Opened:
    """What a worker says of a subject it opened."""

    runtime: str
    threads: int | None
    inputs: str
    io_bytes: int
    cold_load_s: float
    first_run_s: float
    macs: int | None
    weight_bytes: int | None


class _Trial:
    """One subject in one live process, and what it measured so far."""

    def __init__(self, subject: Subject, worker: Worker, *, threads: int, core: int | None) -> None:
        self._worker, self._core = worker, core
        self.opened = _Opened(**worker.ask("open", subject=subject.opens, threads=threads, core=core, shapes=subject.shapes))
        self._warm_up: dict[str, Any] = worker.ask("warm_up")
        self._blocks: list[dict[str, Any]] = []

    def block(self) -> None:
        self._blocks.append(self._worker.ask("block", duration_s=_BLOCK_S))

    def finish(self) -> Process:
        blocks = [block["latency_s"] for block in self._blocks]
        waited = [block["waited_share"] for block in self._blocks]
        return Process(
            latency_s=tuple(itertools.chain.from_iterable(blocks)),
            block_runs=tuple(map(len, blocks)),
            waited_share=None if None in waited else statistics.fmean(waited),
            warmup_runs=self._warm_up["runs"],
            warmup_s=self._warm_up["seconds"],
            steady=self._warm_up["steady"],
            cold_load_s=self.opened.cold_load_s,
            first_run_s=self.opened.first_run_s,
            core=self._core,
            **self._worker.ask("finish"),
        )


def measure(
    subjects: Sequence[str | Path],
    *,
    device: str,
    threads: int,
    duration_s: float,
    progress: Callable[[int, int], object],
) -> list[Measurement]:
    """Measure `subjects` against each other, about `duration_s` seconds of timed runs each.

    `progress` is told the steps done and their total. Raises UsageError for a thread count the machine does not have,
    whatever opening a subject raises, and EdgekitError when a measuring process crashes.
    """
    _check_threads(threads)
    job, started_at = uuid.uuid4().hex, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    described = [describe(subject) for subject in subjects]
    core = machine.fastest_core() if threads == 1 else None
    blocks = max(_LEAST_BLOCKS, round(duration_s / _PROCESSES / _BLOCK_S))
    total = _PROCESSES * len(described) * (1 + blocks)
    steps = itertools.count(1)
    order = random.Random(_ORDER_SEED)

    def advance() -> None:
        progress(next(steps), total)

    generations = [_fresh_processes(described, order, threads, core, blocks, advance) for _ in range(_PROCESSES)]
    by_subject = [list(trials) for trials in zip(*generations, strict=True)]
    described = [_completed(subject, trials[0][0]) for subject, trials in zip(described, by_subject, strict=True)]
    peak = roofline.of_machine(threads, core) if any(subject.macs is not None for subject in described) else None
    return [
        summarize(
            subject,
            [process for _, process in trials],
            runtime=trials[0][0].runtime,
            inputs=trials[0][0].inputs,
            io_bytes=trials[0][0].io_bytes,
            device=device,
            threads=trials[0][0].threads,
            peak=peak,
            job=job,
            started_at=started_at,
        )
        for subject, trials in zip(described, by_subject, strict=True)
    ]


def _fresh_processes(
    subjects: Sequence[Subject],
    order: random.Random,
    threads: int,
    core: int | None,
    blocks: int,
    advance: Callable[[], None],
) -> list[tuple[_Opened, Process]]:
    """Measure every subject in one fresh process each."""
    everyone = range(len(subjects))
    with contextlib.ExitStack() as alive:
        trials: dict[int, _Trial] = {}
        for index in order.sample(everyone, len(everyone)):
            worker = alive.enter_context(Worker(subjects[index].name, threads=threads))
            trials[index] = _Trial(subjects[index], worker, threads=threads, core=core)
            advance()
        for _ in range(blocks):
            for index in order.sample(everyone, len(everyone)):
                trials[index].block()
                advance()
        return [(trials[index].opened, trials[index].finish()) for index in everyone]


def _completed(subject: Subject, opened: _Opened) -> Subject:
    """The subject with what only its session knew."""
    return dataclasses.replace(
        subject,
        macs=opened.macs if subject.macs is None else subject.macs,
        model_bytes=opened.weight_bytes if subject.model_bytes is None else subject.model_bytes,
    )


def _check_threads(threads: int) -> None:
    cores = machine.usable_cores()
    if not 1 <= threads <= cores:
        raise UsageError(
            f"cannot measure with {threads} threads",
            cause=f"this machine lets edgekit use {cores} core{'s' if cores > 1 else ''}",
            next_step=f"give a number of threads between 1 and {cores}",
        )
