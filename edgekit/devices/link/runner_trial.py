"""Trials on a device that runs a program of the runtime's own: one process a block, which warms up, is timed, and ends."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from edgekit.devices import Block, Opened, Trial
from edgekit.devices.link.phone_runner import Told
from edgekit.errors import EdgekitError
from edgekit.profiling import timing
from edgekit.profiling.measurement import Memory
from edgekit.profiling.timing import WarmUp

_WARM_UP_S = 1.0
_LEAST_WARM_UP = 9
"""Three windows of three runs."""
_MOST_RUNS_PER_S = 2000
"""Each is a line that comes over the cable: a faster model's blocks are shorter than they were asked to be."""


@dataclass(frozen=True)
class Ran:
    """What one process of the program told."""

    told: Told
    failure: EdgekitError | None = None
    """What ended it before its time; the runs until then are there."""


RunProgram = Callable[[int], Ran]
"""Runs the program in a fresh process, for that many runs after the first."""


def usual_run_s(told: Told) -> float:
    """How long a run takes, from a few: those of the second half."""
    return statistics.median(told.latency_s[len(told.latency_s) // 2 :])


class RunnerTrial(Trial):
    """One block of a subject that has run on the device before: `opened` tells how that was, `run_s` how long a run took."""

    loads_anew = True

    def __init__(self, run: RunProgram, opened: Opened, run_s: float, cores: tuple[int, ...] | None) -> None:
        self._run, self._run_s = run, run_s
        self.opened, self.cores = opened, cores
        self._peaks: list[int] = []
        self._failure: EdgekitError | None = None

    def warm_up(self) -> None:
        """Nothing runs between blocks: a block's process warms up itself, and its block says how that went."""
        return

    def block(self, duration_s: float) -> Block:
        """The process's runs after its warm-up. Where it did not come to its end, those that it came to: the failure is
        raised by what is asked next, so that they are kept."""
        warm_up = self._runs_in(_WARM_UP_S, at_least=_LEAST_WARM_UP)
        latency_s = self._ask(warm_up + self._runs_in(duration_s)).latency_s
        if self._failure is not None and len(latency_s) <= warm_up:
            raise self._failure
        return Block(latency_s[warm_up:], warm_up=_judged(latency_s[:warm_up]))

    def run_for(self, duration_s: float) -> int:
        runs = self._runs_in(duration_s)
        self._ask(runs)
        self._raise()
        return runs + 1

    def finish(self) -> Memory:
        self._raise()
        return Memory(process_peak_bytes=max(self._peaks, default=None))

    def _ask(self, runs: int) -> Told:
        self._raise()
        ran = self._run(runs)
        self._failure = ran.failure
        told = ran.told
        if told.peak_bytes is not None:
            self._peaks.append(told.peak_bytes)
        self.opened = dataclasses.replace(self.opened, load_s=told.load_s, first_run_s=told.first_run_s)
        return told

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _runs_in(self, duration_s: float, at_least: int = 1) -> int:
        return max(at_least, min(math.ceil(duration_s / self._run_s), math.ceil(duration_s * _MOST_RUNS_PER_S)))


def _judged(latency_s: tuple[float, ...]) -> WarmUp:
    """How a warm-up went whose runs the device timed: by the rule of `timing.warm_up`, on a clock that they move."""
    left, now = iter(latency_s), 0.0

    def run() -> None:
        nonlocal now
        now += next(left)

    try:
        steady = timing.warm_up(run, clock=lambda: now, limit_s=math.inf).steady
    except StopIteration:
        steady = False
    return WarmUp(len(latency_s), math.fsum(latency_s), steady)
