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
_BLOCK_RUNS = 250
"""Enough of a very fast model: more would swell the record and tell nothing."""


@dataclass(frozen=True)
class WarmUp:
    """How the warm-up went."""

    runs: int
    seconds: float
    steady: bool
    """Whether rolling medians came to agree."""


def warm_up(run: Run, *, clock: Clock, limit_s: float = 2.0) -> WarmUp:
    """Run until the medians of three consecutive windows agree within 2 %, or for `limit_s`.

    A window is 0.1 s and at least 3 runs, and there are always three windows: a slow model takes longer than the limit.
    """
    started = clock()
    medians: list[float] = []
    runs = 0
    while not agree(medians):
        if len(medians) >= _WINDOWS and clock() - started >= limit_s:
            return WarmUp(runs, clock() - started, steady=False)
        window = _timed_runs(run, clock, at_least_s=_WINDOW_S, at_least=_WINDOW_RUNS)
        runs += len(window)
        medians.append(statistics.median(window))
    return WarmUp(runs, clock() - started, steady=True)


def agree(medians: Sequence[float]) -> bool:
    """Whether the last three of these rolling medians lie within 2 % of each other."""
    last = medians[-_WINDOWS:]
    return len(last) == _WINDOWS and max(last) <= (1 + AGREEMENT) * min(last)


def block(run: Run, *, clock: Clock, duration_s: float) -> list[float]:
    """Seconds of each run in a block of `duration_s` (at least one run, at most 250).

    A few untimed runs come first (20 ms, at least one): whoever ran before has filled the caches.
    """
    _timed_runs(run, clock, at_least_s=_RECOVERY_S, at_least=1)
    return _timed_runs(run, clock, at_least_s=duration_s, at_least=1, at_most=_BLOCK_RUNS)


def _timed_runs(run: Run, clock: Clock, *, at_least_s: float, at_least: int, at_most: int | None = None) -> list[float]:
    """Seconds of each run, until both bounds are reached, or `at_most` runs are done."""
    latency_s: list[float] = []
    started = clock()
    while len(latency_s) != at_most:
        before = clock()
        run()
        after = clock()
        latency_s.append(after - before)
        if len(latency_s) >= at_least and after - started >= at_least_s:
            break
    return latency_s
