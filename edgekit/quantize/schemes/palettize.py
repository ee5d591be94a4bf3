"""palettize-N: each weight an index of N bits into a table of values found by k-means; computed in floating point.

With N = 4 it is a quarter of fp16's size. Activations stay as they are, so it needs no calibration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.quantize.plan import Assignment, WeightFormat

if TYPE_CHECKING:
    from edgekit.profiles import IntegerSupport
    from edgekit.quantize.sites import Site

CALIBRATED = False
ARGUMENTS = (1, 2, 3, 4, 6, 8)

_LEAST_VALUES_AN_ENTRY = 4
"""Below it, the table takes more than it saves."""


def assign(site: Site, support: IntegerSupport, argument: int | None) -> Assignment:
    """A palette for every weight that is large enough, where the runtime takes palettes."""
    if site.weight is None:
        return site.left("it has no weight")
    if site.operator not in support.weights.get("palette", ()):
        return site.left(f"the runtime takes no palettes for {site.operator}")
    if argument not in support.palette_bits:
        return site.left(f"the runtime takes palettes of {_listed(support.palette_bits)} bits, not of {argument}")
    if site.weight.values.numel() < _LEAST_VALUES_AN_ENTRY * 2**argument:
        return site.left(f"its {site.weight.values.numel()} values are too few for a table of {2**argument}")
    return site.becomes(weight=WeightFormat.model_validate({"kind": "palette", "bits": argument}))


def _listed(bits: tuple[int, ...]) -> str:
    return ", ".join(map(str, bits[:-1])) + f" or {bits[-1]}"
