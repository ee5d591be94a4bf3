"""int4-weight: weights of four bits, a scale for every 32 input channels: an eighth of the size. It needs no calibration, and
is nearer to the original with it.

Where the runtime has no such kernel beside floating-point activations, those get eight bits in ranges of each run's own.
Weights that do not fall into groups get eight bits, and so do other convolutions, where the runtime takes those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.quantize.plan import ActivationFormat, Assignment, WeightFormat

if TYPE_CHECKING:
    from edgekit.profiles import IntegerSupport
    from edgekit.quantize.sites import Site

CALIBRATED = False

_GROUP = 32
"""Input channels to a scale: the smallest that XNNPACK has kernels for."""


def assign(site: Site, support: IntegerSupport, argument: int | None) -> Assignment:
    """Four bits for linears and pointwise convolutions, where the runtime takes them."""
    if site.weight is None:
        return site.left("it has no constant weight")
    if not any("int4" in formats for formats in (support.weights, support.dynamic)):
        return site.left("the runtime takes no weights of four bits")
    if site.operator == "conv2d" and not site.is_pointwise:
        why = "four bits are for linears and pointwise convolutions"
        if site.operator in support.weights.get("int8", ()):
            return site.becomes(weight=WeightFormat(kind="int8"), why=f"eight bits: {why}")
        return site.left(why)
    activation: ActivationFormat | None = None
    if site.operator not in support.weights.get("int4", ()):
        if reason := site.no_dynamic("int4", support):
            return site.left(reason)
        activation = "dynamic"
    inputs = site.weight.values.shape[site.weight.input_axis]
    if inputs % _GROUP:
        why = f"eight bits: its {inputs} input channels are no multiple of {_GROUP}"
        return site.becomes(weight=WeightFormat(kind="int8"), activation=activation, why=why)
    return site.becomes(weight=WeightFormat(kind="int4", group=_GROUP), activation=activation)
