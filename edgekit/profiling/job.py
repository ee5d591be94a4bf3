"""One job: subjects measured against each other on one device.

Every subject gets fresh processes, one generation after another; those of different subjects live side by side and take
turns, block by block in random order, one running at a time, so that drift of the device hits all subjects alike. What was
measured before something ended the job is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import itertools
import random
import statistics
import uuid
from collections.abc import Callable, Iterator, Sequence

import edgekit
from edgekit.devices import Block, Device, Facts, Opened, Trial
from edgekit.errors import EdgekitError, Interrupted
from edgekit.profiling import energy, operators, roofline, static
from edgekit.profiling.conditions import Watch
from edgekit.profiling.measurement import Conditions, Energy, Fingerprint, Measurement, Memory, Model, OperatorProfile, Process
from edgekit.profiling.plan import Plan
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject
from edgekit.profiling.summary import summarize
from edgekit.profiling.timing import WarmUp

_ORDER_SEED = 0

Progress = Callable[[int, int], object]


class _Run:
    """One subject in one live trial, and what it measured so far."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self._warm_up: WarmUp | None = trial.warm_up()
        self._blocks: list[Block] = []

    def block(self, duration_s: float) -> None:
        block = self.trial.block(duration_s)
        self._blocks.append(block)
        self._warm_up = block.warm_up or self._warm_up

    def process(self, memory: Memory) -> Process:
        waited = [block.waited_share for block in self._blocks]
        known = [share for share in waited if share is not None]
        warm_up, opened = self._warm_up, self.trial.opened
        return Process(
            latency_s=tuple(itertools.chain.from_iterable(block.latency_s for block in self._blocks)),
            block_runs=tuple(len(block.latency_s) for block in self._blocks),
            memory=memory,
            warmup_runs=None if warm_up is None else warm_up.runs,
            warmup_s=None if warm_up is None else warm_up.seconds,
            steady=None if warm_up is None else warm_up.steady,
            load_s=opened.load_s,
            load_was_cold=opened.load_was_cold,
            first_run_s=opened.first_run_s,
            waited_share=statistics.fmean(known) if len(known) == len(waited) else None,
            waited_s=_joined([block.waited_s for block in self._blocks]),
            cores=self.trial.cores,
        )

    @property
    def has_samples(self) -> bool:
        return any(block.latency_s for block in self._blocks)


def _joined(parts: Sequence[tuple[float, ...] | None]) -> tuple[float, ...] | None:
    """All parts in a row; None where one is unknown."""
    known = [part for part in parts if part is not None]
    return tuple(itertools.chain.from_iterable(known)) if len(known) == len(parts) else None


@dataclasses.dataclass
class _Taken:
    """What was taken of one subject so far."""

    subject: Subject
    opened: Opened | None = None
    processes: list[Process] = dataclasses.field(default_factory=list)
    energy: Energy | None = None
    """None before its window."""
    operators: OperatorProfile | None = None


class _Job:
    def __init__(self, device: Device, subjects: Sequence[Subject], settings: Settings, progress: Progress) -> None:
        self._device, self._settings, self._facts = device, settings, device.facts()
        self._watch = Watch(device.shell)
        self._meter: energy.Meter | Energy | None = None
        self._plan: Plan = device.plan(settings)
        self._taken = [_Taken(subject) for subject in subjects]
        self._order = random.Random(_ORDER_SEED)
        self._running: dict[int, _Run] = {}
        steps = itertools.count(1)
        more = settings.energy + settings.operators
        total = len(subjects) * (self._plan.processes * (1 + self._plan.blocks) + more)
        self._advance: Callable[[], object] = lambda: progress(next(steps), total)

    def run(self) -> None:
        """Take every sample."""
        everyone = range(len(self._taken))
        # Sustained, a subject has the device to itself; otherwise all of them take turns.
        groups = [[index] for index in everyone] if self._settings.mode == "sustained" else [list(everyone)]
        for generation in range(self._plan.processes):
            for group in groups:
                self._generation(group, cold=generation % 2 == 0, last=generation == self._plan.processes - 1)
        self._watch.end()
        if self._settings.operators:
            for taken in self._taken:
                taken.operators = operators.measure(self._device, taken.subject, self._settings, self._peak)
                self._advance()

    def _generation(self, group: list[int], *, cold: bool, last: bool) -> None:
        """Measure every subject of `group` in one fresh process each."""
        with contextlib.ExitStack() as alive:
            try:
                for index in self._order.sample(group, len(group)):
                    taken = self._taken[index]
                    trial = alive.enter_context(self._device.start(taken.subject, self._settings, cold=cold))
                    self._running[index] = _Run(trial)
                    taken.opened = taken.opened or trial.opened
                    self._advance()
                for _ in range(self._plan.blocks):
                    for index in self._order.sample(group, len(group)):
                        self._running[index].block(self._plan.block_s)
                        self._advance()
                if self._settings.energy and last:
                    for index in group:
                        self._taken[index].energy = self._energy(self._running[index].trial)
                        self._advance()
                for index in group:
                    run = self._running[index]
                    self._taken[index].processes.append(run.process(run.trial.finish()))
                    del self._running[index]
            finally:
                self._salvage()

    def _energy(self, trial: Trial) -> Energy:
        """Of a run in `trial`, with the device to itself."""
        if self._device.shell is None:
            return Energy("no_counter", reason="nothing reads this device's energy from here")
        if self._meter is None:
            self._meter = energy.find(self._device.shell, self._device.gpu_index)
        if isinstance(self._meter, Energy):
            return self._meter
        found = energy.measure(self._meter, trial.run_for)
        return energy.with_a_load(found, trial.opened.load_s) if trial.loads_anew else found

    def _salvage(self) -> None:
        """Keep the samples of processes that did not come to their end."""
        for index, run in self._running.items():
            if run.has_samples:
                self._taken[index].processes.append(run.process(Memory()))
        self._running.clear()

    def measurements(self, started_at: str, interrupted: str | None = None) -> Iterator[Measurement]:
        """One for each subject that has samples."""
        job = uuid.uuid4().hex
        peak = None if interrupted else self._peak
        for taken in self._taken:
            if taken.opened is None or not taken.processes:
                continue
            yield self._measurement(taken, taken.opened, peak, job=job, started_at=started_at, interrupted=interrupted)

    def _measurement(
        self,
        taken: _Taken,
        opened: Opened,
        peak: roofline.Peak | None,
        *,
        job: str,
        started_at: str,
        interrupted: str | None,
    ) -> Measurement:
        model = _model(taken.subject, opened)
        energy_taken = taken.energy
        if self._settings.energy and energy_taken is None:
            energy_taken = Energy("window_too_short", reason="the job ended before its window")
        latency_s = statistics.median(itertools.chain.from_iterable(process.latency_s for process in taken.processes))
        source = self._device.tape.source
        return summarize(
            taken.subject.name,
            model,
            taken.processes,
            job=job,
            started_at=started_at,
            provenance="replayed" if source else "measured",
            source=source,
            conditions=self._conditions(taken.subject, opened),
            fingerprint=_fingerprint(self._device.name, self._facts, opened),
            floor=roofline.floor(
                macs=model.macs,
                model_bytes=model.size_bytes,
                io_bytes=opened.io_bytes,
                precision=model.precision,
                latency_s=latency_s,
                peak=peak,
            ),
            energy=energy_taken,
            parity=opened.parity,
            operators=taken.operators,
            interrupted=interrupted,
        )

    def _conditions(self, subject: Subject, opened: Opened) -> Conditions:
        return Conditions(
            inputs=opened.inputs,
            input_shapes=opened.input_shapes,
            batch=subject.batch,
            mode=self._settings.mode,
            spinning=opened.spinning,
            before=self._watch.before,
            after=self._watch.after,
            mean_clock_hz=self._watch.mean_clock_hz,
        )

    @functools.cached_property
    def _peak(self) -> roofline.Peak | None:
        counted = any((taken.opened and taken.opened.macs) or taken.subject.model.macs for taken in self._taken)
        return self._device.peak(self._settings) if counted else None


def measure(device: Device, subjects: Sequence[Subject], settings: Settings, *, progress: Progress) -> list[Measurement]:
    """Measure `subjects` against each other on `device`. `progress` is told the steps done and their total.

    Raises what the device raises: UsageError for what it does not have, whatever opening a subject raises, DeviceError when
    it is lost or refuses, EdgekitError when a measuring process crashes. Once samples were taken, an error comes as
    Interrupted, which carries them; so does a KeyboardInterrupt.
    """
    device.check(settings)
    started_at = _started(device, subjects, settings)
    job = _Job(device, subjects, settings, progress)
    try:
        job.run()
        return list(job.measurements(started_at))
    except (EdgekitError, KeyboardInterrupt) as error:
        what = error.what if isinstance(error, EdgekitError) else "interrupted by the user"
        if partial := list(job.measurements(started_at, interrupted=what)):
            raise Interrupted(error, partial) from error
        raise


def _started(device: Device, subjects: Sequence[Subject], settings: Settings) -> str:
    """When the job started; a replayed one when it was recorded, and its request must be the same."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    request = {"job": dataclasses.asdict(settings), "subjects": [subject.label for subject in subjects]}
    started_at: str = device.tape.exchange(request, lambda: now)
    return started_at


def _model(subject: Subject, opened: Opened) -> Model:
    """What its file tells, and what only its session knew."""
    model = static.completed(subject.model, subject.model_file)
    return dataclasses.replace(
        model,
        macs=opened.macs if model.macs is None else model.macs,
        size_bytes=opened.weight_bytes if model.size_bytes is None else model.size_bytes,
        weight_bytes=opened.weight_bytes if model.weight_bytes is None else model.weight_bytes,
    )


def _fingerprint(device: str, facts: Facts, opened: Opened) -> Fingerprint:
    return Fingerprint(
        device=device,
        hardware=facts.hardware,
        os=facts.os,
        cpu=facts.cpu,
        cpu_flags=facts.cpu_flags,
        cores=facts.cores,
        gpu=facts.gpu,
        threads=opened.threads,
        runtime=opened.runtime,
        edgekit=edgekit.__version__,
    )
