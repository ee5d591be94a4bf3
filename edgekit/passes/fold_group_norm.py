"""The scale and shift of GroupNorm fold into the layers behind it, where these are all that reads it: runtimes compute them as
operators of their own. Exact where a layer does not pad, or there is no shift, as for BatchNorm."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._absorption import absorbed, why_not_absorb
from edgekit.passes._graph import argument, aten, calls, constant, shape, value, where
from edgekit.passes._layers import layer
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Fold what every GroupNorm scales and shifts by."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.group_norm.default):
            given = argument(node, 2, "weight"), argument(node, 3, "bias")
            if given != (None, None):
                changes.record(where(node), _fold(graph_module, node, *given))
    return changes


def _fold(graph_module: GraphModule, node: Node, weight: Node | None, bias: Node | None) -> str:
    scale, shift = constant(graph_module, weight), constant(graph_module, bias)
    if (scale is None) != (weight is None) or (shift is None) != (bias is None):
        return "its weight or bias is computed"
    channels, dtype = shape(node)[1], value(node).dtype
    scale = torch.ones(channels, dtype=dtype) if scale is None else scale
    shift = torch.zeros(channels, dtype=dtype) if shift is None else shift
    after = [layer(graph_module, user) for user in node.users]
    reason = why_not_absorb(node, after, shift)
    if reason:
        return reason
    for user in after:
        assert user is not None
        user.rewrite(graph_module, *absorbed(user, scale.double(), shift.double()))
    node.args, node.kwargs = (*node.args[:2], None, None, argument(node, 4, "eps", 1e-5)), {}
    return ""
