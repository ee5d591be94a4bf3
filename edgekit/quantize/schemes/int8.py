"""int8: weights and activations of eight bits, their ranges found in calibration; what the runtime computes with integers.

Weights are symmetric with a scale for each output channel; activations have one scale and a zero point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.quantize.plan import Assignment, WeightFormat

if TYPE_CHECKING:
    from edgekit.profiles import IntegerSupport
    from edgekit.quantize.sites import Site

CALIBRATED = True


def assign(site: Site, support: IntegerSupport, argument: int | None) -> Assignment:
    """Eight bits wherever the runtime has a kernel for them."""
    if support.activation is None:
        return site.left("the runtime computes nothing with integers")
    if site.operator not in support.operators:
        return site.left(f"the runtime has no integer kernel for {site.operator}")
    return site.becomes(weight=WeightFormat(kind="int8"), activation=support.activation)
