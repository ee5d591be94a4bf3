"""A product of matrices with several equal batch axes becomes one with a single batch axis: what converters otherwise make of
it, with broadcasts that copy in between."""

from __future__ import annotations

import math

from torch.fx import Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, aten, calls, replace, shape, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every `matmul` of equal batch axes as `bmm` between reshapes, where the profile prefers that."""
    changes = Changes()
    if not profile.flat_matmul:
        return changes
    for graph_module in program:
        for node in calls(graph_module, aten.matmul.default):
            left, right = node.args
            assert isinstance(left, Node)
            assert isinstance(right, Node)
            batch = shape(left)[:-2]
            if len(shape(left)) < 4 and len(shape(right)) < 4:
                continue
            if shape(right)[:-2] != batch:
                changes.refusals.append(Refusal(where(node), "its operands differ in their batch axes"))
                continue
            flat = (add_call(node, aten.reshape.default, x, [math.prod(batch), *shape(x)[-2:]]) for x in (left, right))
            replace(node, add_call(node, aten.reshape.default, add_call(node, aten.bmm.default, *flat), list(shape(node))))
            changes.changed += 1
    return changes
