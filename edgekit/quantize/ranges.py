"""Range estimators: from how often a tensor took which values, the range that its integers cover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

BINS = 2048
_PARTS = 4
"""Of a bin, by which errors are summed."""
_KEPT = 0.9999
"""Of all values, by the percentile estimator."""
_SHRINKS = [float(part) for part in np.linspace(0.05, 1.0, 77)]
"""Parts of the observed range, tried by the estimator of least squares."""


@dataclass(frozen=True)
class Range:
    """From the smallest to the largest value that is to be represented; zero is always between them."""

    low: float
    high: float

    def __or__(self, other: Range) -> Range:
        """The range that covers both."""
        return Range(min(self.low, other.low), max(self.high, other.high))

    def with_zero(self) -> Range:
        """Zero must be represented exactly: paddings are zeros."""
        return self | Range(0.0, 0.0)


@dataclass
class Histogram:
    """How often values between `low` and `high` fell into each of `BINS` equal bins."""

    low: float
    high: float
    counts: npt.NDArray[np.int64]

    @cached_property
    def values(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Values that lie evenly in the bins that hold any, and how often each was seen: a bin's middle alone would hide the
        error of a grid about as fine as the bins."""
        filled = np.flatnonzero(self.counts)
        width = (self.high - self.low) / len(self.counts)
        parts = (np.arange(_PARTS) + 0.5) / _PARTS
        values = self.low + (filled[:, None] + parts) * width
        return values.ravel(), np.repeat(self.counts[filled] / _PARTS, _PARTS)


def min_max(seen: Histogram, levels: int) -> Range:
    """Every value that was seen."""
    return Range(seen.low, seen.high)


def percentile(seen: Histogram, levels: int) -> Range:
    """All but one in ten thousand of the values, half of those at either end."""
    cumulative = np.cumsum(seen.counts) / max(int(seen.counts.sum()), 1)
    outside = (1 - _KEPT) / 2
    first = int(np.searchsorted(cumulative, outside, side="right"))
    last = int(np.searchsorted(cumulative, 1 - outside, side="left"))
    edges = np.linspace(seen.low, seen.high, len(seen.counts) + 1)
    return Range(float(edges[min(first, len(seen.counts) - 1)]), float(edges[min(last + 1, len(seen.counts))]))


def least_squares(seen: Histogram, levels: int) -> Range:
    """The part of the observed range in which `levels` values leave the least squared error: both ends drawn in together, then
    either alone, for few tensors are symmetric."""
    full = best = Range(seen.low, seen.high).with_zero()
    least = squared_error(seen, full, levels)
    for vary in (_both_ends, _high_end, _low_end):
        start = best
        for part in _SHRINKS:
            tried = vary(start, full, part)
            error = squared_error(seen, tried, levels)
            if error < least:
                best, least = tried, error
    return best


def _both_ends(start: Range, full: Range, part: float) -> Range:
    return Range(part * full.low, part * full.high)


def _high_end(start: Range, full: Range, part: float) -> Range:
    return Range(start.low, part * full.high)


def _low_end(start: Range, full: Range, part: float) -> Range:
    return Range(part * full.low, start.high)


def squared_error(seen: Histogram, covered: Range, levels: int) -> float:
    """Summed over all that was seen, values lying evenly in their bins, on a grid of `levels` over a range that holds zero."""
    scale = (covered.high - covered.low) / (levels - 1) or 1.0
    zero = np.round(-covered.low / scale)
    values, counts = seen.values
    rounded = (np.clip(np.round(values / scale) + zero, 0, levels - 1) - zero) * scale
    return float(counts @ np.square(values - rounded))


ESTIMATORS: dict[str, Callable[[Histogram, int], Range]] = {
    "min-max": min_max,
    "percentile": percentile,
    "mse": least_squares,
}
