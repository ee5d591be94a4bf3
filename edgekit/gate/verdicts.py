"""Judges results by budgets: PASS where the interval's upper end is within the limit, FAIL where its lower end is beyond it,
else INCONCLUSIVE. What was not checked is never passed."""

from __future__ import annotations

import dataclasses
import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgekit.errors import UsageError
from edgekit.gate.baselines import Baseline, identity
from edgekit.gate.budgets import QUANTITIES, Budget, Limit
from edgekit.gate.results import Result
from edgekit.profiling.measurement import Estimate

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
EXIT_CODES: dict[Outcome, int] = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}


@dataclass(frozen=True)
class Check:
    """One limit of one budget, beside what one result says of its quantity."""

    number: int
    """The budget's place in the file, from 1."""
    budget: Budget
    key: str
    limit: Limit
    result: Result | None = None
    """Null where nothing given could be held to it."""
    estimate: Estimate | None = None
    """In the unit of the key; a ratio to the baseline for a relative limit. Null where it is not known."""
    reason: str = ""
    """Why it is not known."""
    notes: tuple[str, ...] = ()
    """What must be said beside the figures."""
    may_pass: bool = True
    """Whether a good figure would prove the model good."""
    hint: str = "measure longer, or use --collect"
    """What to do about an interval that holds the budget."""


@dataclass(frozen=True)
class Verdict:
    """A check, decided."""

    check: Check
    outcome: Outcome
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """The verdict as `--json` prints it."""
        check = self.check
        return {
            "budget": check.number,
            "selectors": check.budget.selectors,
            "limit": check.key,
            "bound": check.limit.bound,
            "relative": check.limit.relative,
            "subject": check.result and check.result.subject,
            "source": check.result and check.result.source,
            "measured": check.estimate and dataclasses.asdict(check.estimate),
            "verdict": self.outcome,
            "reason": self.reason,
            "notes": list(check.notes),
        }


@dataclass(frozen=True)
class Report:
    """The verdicts on everything that was given."""

    verdicts: tuple[Verdict, ...]
    uncovered: tuple[Result, ...]
    """Results that no budget speaks of."""

    @property
    def outcome(self) -> Outcome:
        """FAIL if any is, else INCONCLUSIVE if any is."""
        found = {verdict.outcome for verdict in self.verdicts}
        return "FAIL" if "FAIL" in found else "INCONCLUSIVE" if "INCONCLUSIVE" in found else "PASS"

    @property
    def exit_code(self) -> int:
        """1, 3 or 0."""
        return EXIT_CODES[self.outcome]

    def as_dict(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "verdict": self.outcome,
            "exit_code": self.exit_code,
            "verdicts": [verdict.as_dict() for verdict in self.verdicts],
            "uncovered": [{"subject": result.subject, "source": result.source} for result in self.uncovered],
        }


def report(budgets: Sequence[Budget], results: Sequence[Result], done: Iterable[Check]) -> Report:
    """The report on checks that were `done`, and on limits that none of the results could be held to. Raises UsageError when no
    budget speaks of any."""
    order = list(QUANTITIES)
    every = sorted([*done, *unanswered(budgets, results)], key=lambda check: (check.number, order.index(check.key)))
    return Report(tuple(map(decide, every)), uncovered(budgets, results))


def uncovered(budgets: Sequence[Budget], results: Sequence[Result]) -> tuple[Result, ...]:
    """Results that no budget speaks of. Raises UsageError when that is all of them."""
    found = tuple(result for result in results if not any(budget.matches(result) for budget in budgets))
    if len(found) == len(results):
        raise UsageError(
            "no budget speaks of what was given",
            cause="; ".join(f"budget {number}: {_nothing(budget, results)}" for number, budget in enumerate(budgets, 1)),
            next_step="correct the budgets' selectors, or give the results they mean",
        )
    return found


def checks(
    budgets: Sequence[Budget], results: Sequence[Result], baseline: Baseline | None, confidence: float | None = None
) -> Iterator[Check]:
    """Every limit beside every result that is to tell its quantity. `confidence` as `Quantity` has it. Raises UsageError for
    one that would hold several batches of a model to the same figure."""
    for number, budget in enumerate(budgets, 1):
        for key, limit in budget.limits.items():
            meant = [result for result in results if budget.matches(result) and QUANTITIES[key].asked_of(result)]
            if QUANTITIES[key].measured:
                _require_one_batch(number, meant)
            for result in meant:
                yield _read(Check(number, budget, key, limit, result), result, baseline, confidence)


def unanswered(budgets: Sequence[Budget], results: Sequence[Result]) -> Iterator[Check]:
    """Every limit that no result was there for."""
    for number, budget in enumerate(budgets, 1):
        meant = [result for result in results if budget.matches(result)]
        for key, limit in budget.limits.items():
            if not any(QUANTITIES[key].asked_of(result) for result in meant):
                why = QUANTITIES[key].nothing if meant else _nothing(budget, results)
                yield Check(number, budget, key, limit, reason=why)


def _require_one_batch(number: int, results: Sequence[Result]) -> None:
    """Raise UsageError where a model was run in several batches."""
    batches: dict[tuple[str | None, ...], set[int | None]] = defaultdict(set)
    for result in results:
        found = batches[identity(result)]
        found.add(result.batch)
        if len(found) > 1:
            raise several_batches(number, result.subject, found)


def several_batches(number: int, subject: str, batches: Iterable[int | None]) -> UsageError:
    """What is wrong with budget `number` that does not say which of these it means."""
    sizes = sorted(str(size or "its example's size") for size in batches)
    return UsageError(
        f"budget {number} speaks of {subject} in batches of {' and '.join(sizes)}",
        cause="a run of more takes longer: one limit does not fit both",
        next_step="add `batch: N` to it, and give an entry for each batch",
    )


def _read(check: Check, result: Result, baseline: Baseline | None, confidence: float | None) -> Check:
    """The check with what `result` says."""
    quantity = QUANTITIES[check.key]
    run = result.measurement if quantity.measured else None
    if run is not None:
        said = [
            *([f"{run.provenance} from {run.source}"] if run.provenance != "measured" else []),
            *([f"interrupted: {run.interrupted}; judged by the {run.runs} runs until then"] if run.interrupted else []),
            *([f"in batches of {run.conditions.batch}"] if run.conditions.batch else []),
        ]
        check = dataclasses.replace(check, notes=tuple(said), may_pass=run.interrupted is None)
    if reason := quantity.missing(result):
        return dataclasses.replace(check, reason=reason)
    if not check.limit.relative:
        notes = (*check.notes, *quantity.doubts(result))
        return dataclasses.replace(check, estimate=quantity.estimate(result, confidence), notes=notes)
    if baseline is None:
        return dataclasses.replace(check, reason="it is relative, and no --baseline was given")
    other = baseline.of(result, quantity)
    if other is None:
        return dataclasses.replace(check, reason="the baseline has no result of this model")
    if reason := quantity.missing(other):
        return dataclasses.replace(check, reason=f"the baseline: {reason}")
    ratio = quantity.ratio(result, other, confidence)
    if ratio is None:
        return dataclasses.replace(check, reason="there is no ratio to what is not above zero")
    return dataclasses.replace(check, estimate=ratio, notes=(*check.notes, *quantity.doubts(result, other)))


def decide(check: Check) -> Verdict:
    """The verdict on a check."""
    estimate, bound = check.estimate, check.limit.bound
    if estimate is None:
        return Verdict(check, "INCONCLUSIVE", check.reason)
    if estimate.low is None or estimate.high is None:
        return Verdict(check, "INCONCLUSIVE", estimate.reason or "it has no interval")
    at_least = QUANTITIES[check.key].at_least
    within = estimate.low >= bound if at_least else estimate.high <= bound
    beyond = estimate.high < bound if at_least else estimate.low > bound
    if beyond:
        return Verdict(check, "FAIL", "below the budget" if at_least else "over the budget")
    if not within:
        return Verdict(check, "INCONCLUSIVE", f"the interval holds the budget: {check.hint}")
    if not check.may_pass:
        return Verdict(check, "INCONCLUSIVE", "within the budget as far as it ran, which proves no pass")
    return Verdict(check, "PASS", "")


def _nothing(budget: Budget, results: Sequence[Result]) -> str:
    """Why a budget speaks of none of the results."""
    for key, wanted in budget.selectors.items():
        if any(budget.selects(result, key) for result in results):
            continue
        there = sorted({str(name) for result in results for name in result.named(key) if name is not None})
        near = difflib.get_close_matches(str(wanted), there, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(there)}" if there else "none tells it"
        return f"no result has the {key} {wanted} ({hint})"
    return "no result has all it selects by at once"
