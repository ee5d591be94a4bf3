"""Measures until every limit is decided, or until a cap.

Data only grow: every job adds fresh processes, none is thrown away, and nothing is measured anew because it failed. Looking at
growing data again and again finds anything in the end, so each look spends a part of the 5 % error that is allowed in all: as
much as it used of the time under the cap (the linear spending function of Lan and DeMets 1983). The parts add up to 5 % however
many looks there are and however they depend on each other (Bonferroni), so all intervals hold at once, and with them what they
have in common, which is what is judged.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from edgekit.errors import EdgekitError, Interrupted
from edgekit.gate.baselines import Baseline
from edgekit.gate.budgets import QUANTITIES, Budget
from edgekit.gate.merging import appended, summarized
from edgekit.gate.results import Result
from edgekit.gate.verdicts import Check, checks, decide
from edgekit.profiling.measurement import Estimate, Measurement
from edgekit.profiling.statistics import CONFIDENCE

Measure = Callable[[Sequence[str]], list[Measurement]]
"""One job: fresh processes of every subject, in turns."""

_SOURCE = "collected"


@dataclass
class _Subject:
    """One subject, and what is known of it so far."""

    name: str
    measurement: Measurement | None = None
    energy_j: list[float] = field(default_factory=list)
    spent_s: float = 0.0
    spent_error: float = 0.0
    checks: dict[tuple[int, str], Check] = field(default_factory=dict)
    """By budget and limit, with all looks in their intervals."""
    decided: bool = False

    def add(self, measurement: Measurement) -> None:
        self.measurement = appended(self.measurement, measurement) if self.measurement else measurement
        if measurement.energy.gross_j is not None:
            self.energy_j.append(measurement.energy.gross_j)

    @property
    def result(self) -> Result:
        assert self.measurement is not None
        return Result(self.name, _SOURCE, self.measurement.model, self.measurement, tuple(self.energy_j))

    def look(self, budgets: Sequence[Budget], baseline: Baseline | None, error: float) -> None:
        """Judge once more, with `error` of the allowed error."""
        for check in checks(budgets, [self.result], baseline, confidence=1 - error):
            place = check.number, check.key
            self.checks[place] = _with_all_looks(check, self.checks.get(place))
        self.decided = not any(map(_open, self.checks.values()))


@dataclass(frozen=True)
class Collected:
    """What collecting found."""

    checks: tuple[Check, ...]
    results: tuple[Result, ...]
    unsummarized: tuple[Measurement, ...]

    @property
    def measurements(self) -> list[Measurement]:
        """Of the subjects, and of what was measured beside them, each with all its samples."""
        return list(map(summarized, self.unsummarized))


def collect(
    budgets: Sequence[Budget],
    subjects: Sequence[str],
    measure: Measure,
    *,
    cap_s: float,
    beside: Sequence[str] = (),
    baseline: Baseline | None = None,
    looks: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Collected:
    """Measure `subjects` until all their limits are decided, for at most about `cap_s` seconds each, and at least once.

    What is `beside` is measured in turns with them, and is a baseline as is what `baseline` holds from before. `looks` bounds
    how often they are measured. Raises what `measure` raises, as Interrupted with all that was collected once something was.
    """
    everyone = [_Subject(name) for name in subjects]
    others = [_Subject(name) for name in beside]
    taken = 0
    while active := [subject for subject in everyone if not subject.decided]:
        started = clock()
        try:
            measurements = measure([subject.name for subject in (*active, *others)])
        except (EdgekitError, KeyboardInterrupt) as error:
            for subject, measurement in _told(error, [*active, *others]):
                subject.add(measurement)
            if not any(_measured(everyone, others)):
                raise
            raise Interrupted(error, list(map(summarized, _measured(everyone, others)))) from error
        for subject, measurement in zip((*active, *others), measurements, strict=True):
            subject.add(measurement)
        taken += 1
        share_s = (clock() - started) / len(active)
        held_to = Baseline([*(subject.result for subject in others), *(baseline.results if baseline else ())])
        last = taken == looks or active[0].spent_s + 2 * share_s > cap_s
        for subject in active:
            subject.spent_s += share_s
            allowed = (1 - CONFIDENCE) * (1.0 if last else min(1.0, subject.spent_s / cap_s))
            subject.look(budgets, held_to if held_to.results else None, allowed - subject.spent_error)
            subject.spent_error = allowed
        if last:
            break
    found = tuple(check for subject in everyone for check in subject.checks.values())
    return Collected(
        tuple(sorted(found, key=lambda check: check.number)),
        tuple(subject.result for subject in everyone),
        tuple(_measured(everyone, others)),
    )


def _with_all_looks(check: Check, before: Check | None) -> Check:
    """The check with what the intervals of this look and of all before have in common."""
    check = dataclasses.replace(check, hint=_HINT)
    mine, other = check.estimate, before.estimate if before else None
    if mine is None or other is None or mine.low is None or mine.high is None:
        return check
    if other.reason == _EXCLUDE:
        return dataclasses.replace(check, estimate=other)
    if other.low is None or other.high is None:
        return check
    low, high = max(mine.low, other.low), min(mine.high, other.high)
    both = Estimate(mine.value, low, high) if low <= high else Estimate(mine.value, None, None, _EXCLUDE)
    return dataclasses.replace(check, estimate=both)


_HINT = "not decided under the cap: raise --cap-s, or leave more room in the budget"
_EXCLUDE = "two looks exclude each other: the machine changed while it was measured"


def _open(check: Check) -> bool:
    """Whether more data may decide it."""
    estimate = check.estimate
    if estimate is None or estimate.reason == _EXCLUDE or not QUANTITIES[check.key].measured:
        return False
    return decide(check).outcome == "INCONCLUSIVE"


def _told(error: BaseException, subjects: Sequence[_Subject]) -> Iterator[tuple[_Subject, Measurement]]:
    """What a job that ended in `error` had measured, each by its subject; it lacks those it had not come to."""
    left = list(error.partial) if isinstance(error, Interrupted) else []
    for subject in subjects:
        if left and left[0].subject == subject.name:
            yield subject, left.pop(0)


def _measured(*groups: Sequence[_Subject]) -> Iterator[Measurement]:
    for subject in itertools.chain(*groups):
        if subject.measurement is not None:
            yield subject.measurement
