"""What counts alone tell. Where nothing happened resampling shows no spread, yet ten images without an error do not bound the
error to zero: these intervals hold there too."""

from __future__ import annotations

import math
from typing import Final

from edgekit.profiling.measurement import Estimate

_Z: Final = 1.959964
"""The normal distribution's 97.5 % quantile."""


def proportion(successes: int, of: int) -> Estimate:
    """A share with Wilson's interval (1927)."""
    share, z2 = successes / of, _Z**2
    centre = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2))
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def paired_difference(only_first: int, only_second: int, of: int) -> Estimate:
    """The share that succeeded with the first less that with the second, of the same `of` trials, with the interval of Agresti
    and Min (2005): Wald's, with half a trial more of each of the four outcomes."""
    more = of + 2
    centre = (only_first - only_second) / more
    half = _Z * math.sqrt(((only_first + only_second + 1) / more - centre**2) / more)
    return Estimate((only_first - only_second) / of, centre - half, centre + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of McNemar's test (1947): that of the trials in which only one of two succeeded, each was as
    likely to be the other's."""
    discordant = only_first + only_second
    term = tail = 1
    for taken in range(min(only_first, only_second)):
        term = term * (discordant - taken) // (taken + 1)
        tail += term
    return min(1.0, 2 * tail / 2**discordant) if discordant else 1.0
