"""`gather` at an `argmax` becomes a mask and a masked sum, where a runtime takes either operator off its accelerator
(`leaves_accelerator` names `aten.argmax` or `aten.gather`); elsewhere the two operators stay, for they move less memory.

The mask is arithmetic, for accelerators that compare nothing: with x at most its maximum, and B so large that B * B times any
difference of two numbers is at least 1,

    behind = max(B max(B (x - max x), -1), -1)              0 where x is the maximum, -1 elsewhere
    score  = C behind + (C, C - 1, ..., 1)                  positive at maxima alone, and most at the first
    mask   = relu(score - max score + 1)                    1 there, 0 elsewhere

so that the first of several maxima is taken, as torch takes it; all of it is exact. Maxima and sums along the axis are taken by
halves. Several gathers at one argmax share its mask. Exact for finite scores (and -inf beside them) and finite gathered values:
a NaN among either spreads over its row, where `argmax` would have picked the NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, add_constant, argument, aten, calls, is_call, replace, shape, value, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_RESHAPES = (aten.unsqueeze.default, aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.squeeze.dim)
_COPIES = (aten.clone.default, aten.contiguous.default, aten.alias.default, aten.detach.default)
_EXPANDS = (aten.expand.default, aten.repeat.default, *_COPIES)

# By what the graph is computed in: B, and how many whole numbers it holds in a row.
_RANGE = {
    torch.float16: (2.0**15, 2**11),
    torch.bfloat16: (2.0**100, 2**8),
    torch.float32: (2.0**100, 2**24),
    torch.float64: (2.0**600, 2**53),
}


@dataclass(frozen=True)
class Argmax:
    """The places of the maxima of `scores` along `axis`."""

    node: Node
    scores: Node
    axis: int

    @property
    def count(self) -> int:
        return shape(self.scores)[self.axis]


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every gather at an argmax, on profiles that name either operator."""
    changes = Changes()
    wanted = {"aten.argmax", "aten.gather"} & set(profile.leaves_accelerator)
    for graph_module in program:
        masks: dict[Node, Node] = {}
        for node in calls(graph_module, aten.gather.default):
            found = _argmax_behind(argument(node, 2, "index"))
            if found is None:
                continue
            reason = _why_not(node, found, program.precision) if wanted else "the runtime keeps argmax and gather where it is fast"
            if reason:
                changes.refusals.append(Refusal(where(node), reason))
                continue
            if found.node not in masks:
                masks[found.node] = _mask(graph_module, found, program.precision)
            replace(node, _masked_sum(node, found, masks[found.node]))
            changes.changed += 1
    return changes
