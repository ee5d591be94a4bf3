"""A check as people read it, in whatever output."""

from __future__ import annotations

import math

from edgekit.gate.budgets import QUANTITIES
from edgekit.gate.verdicts import Check, Report, Verdict
from edgekit.profiling.measurement import Estimate

COLUMNS = ("subject", "device", "budget", "measured [95 %]", "verdict", "why")


def row(verdict: Verdict) -> tuple[str, ...]:
    """Its cells, in the order of `COLUMNS`."""
    check = verdict.check
    return subject(check), device(check), limit(check), measured(check), verdict.outcome, why(verdict)


def subject(check: Check) -> str:
    """What was judged; what was looked for where nothing was."""
    return check.result.subject if check.result else f"({check.budget})"


def device(check: Check) -> str:
    """The device it was measured on; a dash for what does not depend on one."""
    run = check.result and QUANTITIES[check.key].measured and check.result.measurement
    return run.fingerprint.device if run else "-"


def limit(check: Check) -> str:
    """The limit, such as `latency_p50_ms <= 12`."""
    sign = ">=" if QUANTITIES[check.key].at_least else "<="
    return f"{check.key} {sign} {check.limit.bound:g}{' x the baseline' if check.limit.relative else ''}"


def measured(check: Check) -> str:
    """The value with its interval and unit; a dash where it is not known."""
    if check.estimate is None:
        return "-"
    return f"{_interval(check.estimate)}{'x' if check.limit.relative else f' {QUANTITIES[check.key].unit}'}"


def why(verdict: Verdict) -> str:
    """The reason and all that must be said beside the figures."""
    return "; ".join(part for part in (verdict.reason, *verdict.check.notes) if part)


def sentence(verdict: Verdict) -> str:
    """All of it in a line."""
    check = verdict.check
    where = "" if device(check) == "-" else f" on {device(check)}"
    found = "" if check.estimate is None else f", measured {measured(check)}"
    return ": ".join(part for part in (f"{subject(check)}{where}", f"{limit(check)}{found}", why(verdict)) if part)


def counts(report: Report) -> str:
    """How many of each verdict, the gravest first."""
    outcomes = [verdict.outcome for verdict in report.verdicts]
    return ", ".join(f"{outcomes.count(one)} {one}" for one in ("FAIL", "INCONCLUSIVE", "PASS") if one in outcomes)


def unjudged(report: Report) -> str:
    """What was given and no budget speaks of; empty where there is nothing such."""
    names = ", ".join(dict.fromkeys(result.subject for result in report.uncovered))
    return f"No budget speaks of {names}." if names else ""


def _interval(estimate: Estimate) -> str:
    value = _number(estimate.value)
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return value
    return f"{value} [{_number(estimate.low)}, {_number(estimate.high)}]"


def _number(value: float) -> str:
    """Four significant digits, without exponent; whole numbers as they are."""
    if value == 0 or not math.isfinite(value) or float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"
