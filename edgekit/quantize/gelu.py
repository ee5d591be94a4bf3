"""GELU between integers as `x sigmoid(slope x)`, for runtimes that compute that faster (profile: `gelu`).

With 1.702 for the slope the form is known to be as far from GELU as 0.02. Fitted to the values that come in calibration it is
mostly nearer than seven bits could tell; where it is not, GELU stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from edgekit.passes._graph import argument
from edgekit.quantize.ranges import Histogram

_SLOPES = torch.linspace(1.55, 1.85, 61, dtype=torch.float64)
"""Around 2 sqrt(2 / pi), the slope that is right near zero, and 1.702, the one with the smallest largest error."""
_MOST = 4.0
"""The most by which the form's error power may exceed that of rounding to eight bits: what one bit less would leave."""


@dataclass(frozen=True)
class Fit:
    """How near the form comes to GELU over what is seen in calibration."""

    slope: float
    sqnr_db: float

    def __str__(self) -> str:
        return f"computed as x sigmoid({self.slope:.3f} x), {self.sqnr_db:.0f} dB from GELU in calibration"


def fitted(node: Node, seen: Histogram, read: float, made: float) -> Fit | None:
    """The form with the least squared error over the histogram of what GELU reads; None where that error is too large beside
    what the rounding of its operand to multiples of `read`, and of its result to multiples of `made`, leave together."""
    values, counts = (torch.from_numpy(part) for part in seen.values)
    weights = counts / counts.sum()
    kind = argument(node, 1, "approximate", "none")

    def exact(shift: float = 0.0) -> Tensor:
        return torch.nn.functional.gelu(values + shift, approximate=kind)

    errors = (values * torch.sigmoid(_SLOPES[:, None] * values) - exact()).square() @ weights
    of_operand = (exact(read / 2) - exact(-read / 2)).square() @ weights
    best = int(errors.argmin())
    if float(errors[best]) > _MOST * (float(of_operand) + made**2) / 12:
        return None
    return Fit(float(_SLOPES[best]), float(10 * torch.log10(exact().square() @ weights / errors[best])))
