"""int8-dynamic: weights of eight bits; activations too, in ranges that every run finds for itself: no calibration.

Weights are symmetric with a scale for each output channel; activations have a zero point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.quantize.plan import Assignment, WeightFormat

if TYPE_CHECKING:
    from edgekit.profiles import IntegerSupport
    from edgekit.quantize.sites import Site

CALIBRATED = False


def assign(site: Site, support: IntegerSupport, argument: int | None) -> Assignment:
    """Eight bits wherever the runtime finds ranges as it computes."""
    if reason := site.no_dynamic("int8", support):
        return site.left(reason)
    return site.becomes(weight=WeightFormat(kind="int8"), activation="dynamic")
