"""Intervals from one value a process, on the log scale.

Runs of one process share its memory layout and its place in time, so the process is what repeats (Kalibera and Jones 2013), and
Student's t over processes needs nothing of what happens within one. It is wide where there are two and narrows with every
further one, at any confidence: that is what looking again and again takes (`collecting.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgekit.profiling.measurement import Estimate
from edgekit.profiling.statistics import CONFIDENCE, student_t


def of_values(values: Sequence[float], *, confidence: float = CONFIDENCE, value: float | None = None) -> Estimate:
    """The interval around `value` (the values' geometric mean if left out), from how the processes' values spread."""
    if min(values) <= 0:
        return Estimate(values[0], None, None, "it is not above zero, and has no interval on the log scale")
    logs = np.log(values)
    centre = math.log(value) if value is not None else float(logs.mean())
    if len(values) < 2:
        return Estimate(math.exp(centre), None, None, _ONE)
    half = student_t(confidence, len(values) - 1) * float(logs.std(ddof=1)) / math.sqrt(len(values))
    return _around(centre, half)


_ONE = "a single value tells nothing of its spread: more processes do, as --collect measures them"


def ratio_of_values(
    values: Sequence[float],
    reference: Sequence[float],
    *,
    paired: bool,
    confidence: float = CONFIDENCE,
    value: float | None = None,
) -> Estimate | None:
    """The interval of the ratio of two, around `value` (the ratio of geometric means if left out); None where a value is not
    above zero.

    `paired`: value by value from processes that were interleaved, so that what the machine did to both cancels. Otherwise the
    two-sample interval with one spread for both, as fits the same machine in the same state.
    """
    if min(*values, *reference) <= 0:
        return None
    if paired:
        quotients = [mine / other for mine, other in zip(values, reference, strict=True)]
        return of_values(quotients, confidence=confidence, value=value)
    logs, reference_logs = np.log(values), np.log(reference)
    centre = math.log(value) if value is not None else float(logs.mean() - reference_logs.mean())
    freedom = len(values) + len(reference) - 2
    if freedom < 1:
        return Estimate(math.exp(centre), None, None, _ONE)
    squares = sum(float(np.square(part - part.mean()).sum()) for part in (logs, reference_logs))
    spread = math.sqrt(squares / freedom * (1 / len(values) + 1 / len(reference)))
    half = student_t(confidence, freedom) * spread
    return _around(centre, half)


def quotient(mine: Estimate, other: Estimate) -> Estimate:
    """The ratio of two estimates that share nothing, as wide as their bounds allow."""
    value = mine.value / other.value
    if mine.low is None or mine.high is None:
        return Estimate(value, None, None, mine.reason)
    if other.low is None or other.high is None:
        return Estimate(value, None, None, other.reason)
    return Estimate(value, mine.low / other.high, mine.high / other.low)


def _around(centre: float, half: float) -> Estimate:
    """The interval on the log scale, back on that of the values."""
    return Estimate(math.exp(centre), math.exp(centre - half), math.exp(min(centre + half, _LARGEST)))


_LARGEST = 700.0
"""Beyond it lies no float."""
