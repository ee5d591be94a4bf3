"""GroupNorm becomes means, products and a reciprocal root, for runtimes whose accelerated part has no GroupNorm:

    y = (x - mean) * (rsqrt(mean((x - mean)^2) + eps) * weight) + bias      over each group's channels and positions

A mean is taken over the positions first, then over the group's channels as a 1x1 convolution of what is left: the large tensor
keeps its shape, so a runtime with channels last moves nothing, and no sum runs over more than one channel's positions (XNNPACK
adds up in a row: over 131,072 numbers it lost the last three digits). (Wu and He, 1803.08494, equation 6; the variance is the
biased one.)
"""

from __future__ import annotations

import math

import torch
from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, add_constant, argument, aten, calls, constant, replace, shape, value, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Lower every GroupNorm with constant weights where the profile says that its runtime has none."""
    changes = Changes()
    if profile.group_norm != "decomposed":
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
    flat = [batch, channels, positions[0] if len(positions) > 1 else 1, math.prod(positions[1:] or positions)]
    if list(shape(x)) != flat:
        x = add_call(node, aten.reshape.default, x, flat)
    centred = add_call(node, aten.sub.Tensor, x, _group_mean(graph_module, node, x, groups))
    variance = _group_mean(graph_module, node, add_call(node, aten.mul.Tensor, centred, centred), groups)
    factor = add_call(node, aten.rsqrt.default, add_call(node, aten.add.Tensor, variance, eps))
    weight, bias = (
        None if found is None else add_constant(graph_module, node, node.name, found.reshape(1, channels, 1, 1))
        for found in weights
    )
    if weight is not None:
        factor = add_call(node, aten.mul.Tensor, factor, weight)
    normed = add_call(node, aten.mul.Tensor, centred, factor)
    if bias is not None:
        normed = add_call(node, aten.add.Tensor, normed, bias)
    if list(shape(node)) != flat:
        normed = add_call(node, aten.reshape.default, normed, list(shape(node)))
    replace(node, normed)
    return ""


def _group_mean(graph_module: GraphModule, node: Node, x: Node, groups: int) -> Node:
    """The mean over each group, [B, C, 1, 1]; of a single group [B, 1, 1, 1]."""
    channels = shape(x)[1]
    mean = add_call(node, aten.mean.dim, x, [2, 3], True)
    if groups == channels:
        return mean
    share = torch.full((groups, channels // groups, 1, 1), groups / channels, dtype=value(x).dtype)
    share_node = add_constant(graph_module, node, "share", share)
    mean = add_call(node, aten.conv2d.default, mean, share_node, None, [1, 1], [0, 0], [1, 1], groups)
    if groups == 1:
        return mean
    ones = add_constant(graph_module, node, "ones", torch.ones((channels, 1, 1, 1), dtype=value(x).dtype))
    return add_call(node, aten.conv2d.default, mean, ones, None, [1, 1], [0, 0], [1, 1], groups)
