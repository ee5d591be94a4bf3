"""int8-weight: weights of eight bits, computed with in floating point: smaller, and no calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.quantize.plan import Assignment, WeightFormat

if TYPE_CHECKING:
    from edgekit.profiles import IntegerSupport
    from edgekit.quantize.sites import Site

CALIBRATED = False


def assign(site: Site, support: IntegerSupport, argument: int | None) -> Assignment:
    """Eight bits wherever the runtime takes such weights beside floating-point activations."""
    if site.weight is None:
        return site.left("it has no constant weight")
    if site.operator in support.weights.get("int8", ()):
        return site.becomes(weight=WeightFormat(kind="int8"))
    if not site.no_dynamic("int8", support):
        return site.left("the runtime takes weights of eight bits with integer activations alone: int8-dynamic")
    return site.left(f"the runtime takes no weight of eight bits of {site.operator}")
