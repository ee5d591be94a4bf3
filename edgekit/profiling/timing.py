"""The loops that run a model: warm-up to a steady state, then blocks of timed runs.

Pure functions of a `run` to call and a `clock` to read (seconds), so that tests need no real time. Nothing is imported but
the standard library: the file is also sent to boards that have no edgekit.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Run = Callable[[], object]
Clock = Callable[[], float]

AGREEMENT = 0.02
_WINDOW_S = 0.1
_WINDOW_RUNS = 3
_WINDOWS = 3
_RECOVERY_S = 0.02
_WITHIN_WARM_UP_S = 0.3
_BLOCK_RUNS = 250
"""Enough of a very fast model: more would swell the record and tell nothing."""


@dataclass(frozen=True)
class Runs:
    """Timed runs, in order."""

    latency_s: list[float]
    waited_s: list[float] | None
    """Of each run, for how long something else had its core; None where that cannot be told."""


def net_s(latency_s: Sequence[float], waited_s: Sequence[float]) -> list[float]:
    """Latencies without the waiting; never below zero, as some of the waiting may have been between two runs."""
    return [max(latency - waited, 0.0) for latency, waited in zip(latency_s, waited_s, strict=True)]


@dataclass(frozen=True)
class WarmUp:
    """How the warm-up went."""

    runs: int
    seconds: float
    steady: bool
    """Whether rolling medians came to agree."""


def warm_up(run: Run, *, clock: Clock, waited: Clock | None = None, limit_s: float = 1.0) -> WarmUp:
    """Run until the medians of three consecutive windows agree within 2 %, or for `limit_s`.

    A window is 0.1 s and at least 3 runs, and there are always three windows: a slow model takes longer than the limit.
    `waited` tells the seconds for which something else had the core so far: what it took is no sign of a cold model.
    """
    started = clock()
    medians: list[float] = []
    runs = 0
    while not agree(medians):
        if len(medians) >= _WINDOWS and clock() - started >= limit_s:
            return WarmUp(runs, clock() - started, steady=False)
        window = _timed_runs(run, clock, waited, at_least_s=_WINDOW_S, at_least=_WINDOW_RUNS)
        runs += len(window.latency_s)
        net = window.latency_s if window.waited_s is None else net_s(window.latency_s, window.waited_s)
        medians.append(statistics.median(net))
    return WarmUp(runs, clock() - started, steady=True)


def agree(medians: Sequence[float]) -> bool:
    """Whether the last three of these rolling medians lie within 2 % of each other."""
    last = medians[-_WINDOWS:]
    return len(last) == _WINDOWS and max(last) <= (1 + AGREEMENT) * min(last)


def block(run: Run, *, clock: Clock, duration_s: float, waited: Clock | None = None, rested: bool = True) -> Runs:
    """Each run in a block of `duration_s` (at least one run, at most 250); `waited` as for `warm_up`.

    Where this process has `rested` since its last run, a few untimed ones come first (20 ms, at least one): whoever ran
    meanwhile has filled the caches.
    """
    if rested:
        _timed_runs(run, clock, None, at_least_s=_RECOVERY_S, at_least=1)
    return _timed_runs(run, clock, waited, at_least_s=duration_s, at_least=1, at_most=_BLOCK_RUNS)


def repeated(run: Run, *, clock: Clock, duration_s: float = 1.0) -> int:
    """Run to warm up, then for about `duration_s`; how many runs the latter were (the last ones). For runs that are timed from
    within."""
    block(run, clock=clock, duration_s=_WITHIN_WARM_UP_S)
    return len(block(run, clock=clock, duration_s=duration_s).latency_s)


def _timed_runs(
    run: Run, clock: Clock, waited: Clock | None, *, at_least_s: float, at_least: int, at_most: int | None = None
) -> Runs:
    """Runs until both bounds are reached, or `at_most` runs are done."""
    latency_s: list[float] = []
    waited_s: list[float] | None = None if waited is None else []
    started = clock()
    waited_before = 0.0 if waited is None else waited()
    while len(latency_s) != at_most:
        before = clock()
        run()
        after = clock()
        latency_s.append(after - before)
        if waited is not None and waited_s is not None:
            waited_after = waited()  # read between runs: reading takes time of its own
            waited_s.append(waited_after - waited_before)
            waited_before = waited_after
        if len(latency_s) >= at_least and after - started >= at_least_s:
            break
    return Runs(latency_s, waited_s)
