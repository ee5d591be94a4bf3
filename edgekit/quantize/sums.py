"""Sums on whose grid most of what is added would vanish.

A residual stream grows large, in a few channels most of all, and the steps of its integers with it; what each block adds to it
may be less than half a step nearly everywhere. Then the sum of integers is the integer there was, and blocks do nothing, one
after another: noise that no operator shows alone. In floating point such a sum costs conversions, and what lies around it its
layout; so sums are left only where that shows at the outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgekit.quantize.asking import Request
    from edgekit.quantize.plan import Plan
    from edgekit.quantize.ranges import Histogram
    from edgekit.quantize.sites import Site

WHY = "most of what it adds is below half a step of its result's integers"
_LEAST_GAIN_DB = 2.0
"""Of 1 dB SpaRTAN-S lost a fifth of its speed (reports/LOG.md)."""
_SUMS = ("add", "sub")


def rounded_away(asked: Request, plan: Plan) -> list[Site]:
    """The sums with integers of which an operand is, where it is not zero, mostly less than half a step of the sum's grid."""
    from edgekit.passes._graph import constant
    from edgekit.quantize import insert

    graph_module = asked.program.functions["forward"].graph_module
    by_name = {one.node: one for one in plan.sites}
    sums = [site for site in asked.sites if site.operator in _SUMS and by_name[site.node.name].is_static]
    if not (sums and asked.samples):
        return []
    within = insert.crossings(graph_module, by_name, asked.support)
    operands = [node for site in sums for node in site.activations if constant(graph_module, node) is None]
    seen = asked.histograms(list(dict.fromkeys((*within.observed, *operands))))
    grids = within.grids(asked.ranges(within.observed))
    steps = {site.node: grids[within.result(site)].scale for site in sums}
    return [
        site for site in sums if any(_typical(seen[node]) < steps[site.node] / 2 for node in site.activations if node in seen)
    ]


def are_worth_leaving(asked: Request, plan: Plan, without: Plan) -> bool:
    """Whether the outputs are so much nearer with the sums left, on a few of the calibration samples."""
    from edgekit import reference_inputs
    from edgekit.quantize import apply, noise

    if not any(one.changes for one in without.sites):
        return False
    samples = reference_inputs.of_samples(asked.samples)
    made = [noise.pooled(noise.of_program(asked.program, apply(asked, one), samples)).relative for one in (plan, without)]
    kept_db, left_db = map(noise.sqnr_db, made)
    return left_db - kept_db >= _LEAST_GAIN_DB


def _typical(seen: Histogram) -> float:
    """The median magnitude; of what was rectified, without the zeros."""
    values, counts = seen.values
    magnitudes = np.abs(values)
    if seen.low == 0:
        counts = np.where(magnitudes < seen.high / len(seen.counts), 0, counts)
    order = np.argsort(magnitudes)
    cumulative = np.cumsum(counts[order])
    return float(magnitudes[order][np.searchsorted(cumulative, cumulative[-1] / 2)]) if cumulative[-1] else 0.0
