"""mixed: int8 but for the operators that cost the most accuracy for the time they save, within a bound.

`least_sqnr_db`: the fastest assignment whose outputs keep that SQNR over all calibration samples, and for each of those that
the artifact will be proved on. `most_latency_ms`, `most_size_mb`: the most accurate one that takes no more. Starting from all
that can be quantized, operators go back to floating point, each time those with the most noise removed for what they cost;
those that share a tensor go together, as the tensor is quantized for as long as one of them is. Noise is taken to add up, so
that what was chosen is tried, and mended where it fails.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from edgekit.errors import Unsupported

if TYPE_CHECKING:
    from edgekit.quantize.asking import Request
    from edgekit.quantize.plan import Plan

CALIBRATED = True
BOUNDS = ("least_sqnr_db", "most_latency_ms", "most_size_mb")
"""Settings of which it takes exactly one."""


def plan(request: Request) -> Plan:
    """The best assignment within the bound. Raises ConversionError where nothing meets it, naming the best there is, and where
    floating point does; Unsupported for a latency where none can be measured."""
    from edgekit.quantize import costs
    from edgekit.quantize.assignment import Search

    bounds = request.settings
    if bounds.most_size_mb is not None:
        return Search(request, _smallest(request), costs.in_bytes).within(bounds.most_size_mb)
    base = _made_by("int8", request)
    if bounds.most_latency_ms is None:
        assert bounds.least_sqnr_db is not None
        return Search(request, base, costs.in_seconds).meeting(bounds.least_sqnr_db)
    known = costs.in_seconds(request, base)
    if not known.are_measured:
        raise Unsupported(
            "no latency can be promised",
            cause=f"times are {known.how}",
            next_step="bound the SQNR or the size, or choose a target whose runtime tells its operators' times on this machine",
        )
    return Search(request, base, lambda *_: known).within(bounds.most_latency_ms)


def _made_by(scheme: str, request: Request) -> Plan:
    from edgekit.quantize import make_plan

    return make_plan(dataclasses.replace(request, settings=request.settings.model_copy(update={"scheme": scheme})))


def _smallest(request: Request) -> Plan:
    """Weights of eight bits, with activations only where the runtime wants those too."""
    alone, whole = _made_by("int8-weight", request), _made_by("int8", request)
    assigned = (
        full if full.weight is not None and not small.changes else small
        for small, full in zip(alone.sites, whole.sites, strict=True)
    )
    return alone.model_copy(update={"sites": tuple(assigned)})
