"""GroupNorm becomes means, products and a reciprocal root, for runtimes whose accelerated part has no GroupNorm:

    y = (x - mean) * rsqrt(mean((x - mean)^2) + eps) * weight + bias        over each group's channels and positions

Groups stand on the channel axis of a rank-4 view, so that nothing exceeds the input's own rank and means are over the last
axes. (Wu and He, 1803.08494, equation 6; the variance is the biased one.)
"""

from __future__ import annotations

import math

from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, add_constant, argument, aten, calls, constant, replace, shape, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Lower every GroupNorm with constant weights where the profile says that its runtime has none."""
    changes = Changes()
    if profile.group_norm == "native":
        return changes
    for graph_module in program:
        for node in calls(graph_module, aten.group_norm.default):
            changes.record(where(node), _lower(graph_module, node))
    return changes


def _lower(graph_module: GraphModule, node: Node) -> str:
    x = node.args[0]
    assert isinstance(x, Node)
    groups, eps = node.args[1], argument(node, 4, "eps", 1e-5)
    affine = [argument(node, 2, "weight"), argument(node, 3, "bias")]
    weights = [constant(graph_module, given) for given in affine]
    if any(given is not None and found is None for given, found in zip(affine, weights, strict=True)):
        return "its weight or bias is computed"
    assert isinstance(groups, int)
    batch, channels, *positions = shape(x)
    grouped = add_call(node, aten.reshape.default, x, [batch, groups, channels // groups, math.prod(positions)])
    centred = add_call(node, aten.sub.Tensor, grouped, add_call(node, aten.mean.dim, grouped, [2, 3], True))
    squares = add_call(node, aten.mul.Tensor, centred, centred)
    variance = add_call(node, aten.mean.dim, squares, [2, 3], True)
    root = add_call(node, aten.rsqrt.default, add_call(node, aten.add.Tensor, variance, eps))
    normed = add_call(node, aten.reshape.default, add_call(node, aten.mul.Tensor, centred, root), list(shape(x)))
    for operator, found in zip((aten.mul.Tensor, aten.add.Tensor), weights, strict=True):
        if found is not None:
            per_channel = found.reshape(1, channels, *[1] * len(positions))
            normed = add_call(node, operator, normed, add_constant(graph_module, node, node.name, per_channel))
    replace(node, normed)
    return ""
