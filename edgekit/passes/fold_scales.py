"""A product with a constant folds into the weights that made the value:

1. per channel (layer scale) or one number, when the convolution or linear stands right before it;
2. one number also through what commutes with it: reshapes, transposes, means, sums of one operand, a matrix product (into
   either operand), and ReLU when it is positive. So attention's 1/sqrt(d) goes into the query's projection.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import aten, calls, constant, is_call, only_user, replace, shape, value, where
from edgekit.passes._layers import Layer, layer, per_channel
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_COMMUTING = (
    aten.view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.transpose.int,
    aten.permute.default,
    aten.contiguous.default,
    aten.clone.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.mean.dim,
    aten.sum.dim_IntList,
    aten.neg.default,
    aten.adaptive_avg_pool2d.default,
    aten.avg_pool2d.default,
)
_PRODUCTS = (aten.matmul.default, aten.bmm.default, aten.mm.default)


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Fold every constant factor or divisor that reaches the weights of a layer."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.mul.Tensor, aten.div.Tensor):
            found = _factor(graph_module, node)
            if found is None:
                continue
            scaled, factor = found
            target = _reach(graph_module, scaled, factor)
            if isinstance(target, str):
                changes.refusals.append(Refusal(where(node), target))
                continue
            channels = per_channel(factor, target)
            assert channels is not None
            target.rewrite(graph_module, *target.scaled(channels))
            replace(node, scaled)
            changes.changed += 1
    return changes


def _factor(graph_module: GraphModule, node: Node) -> tuple[Node, Tensor] | None:
    """The value that is scaled and the constant it is multiplied by, in float64; None for a product of two values."""
    left, right = node.args[:2]
    pairs = [(left, right)] if is_call(node, aten.div.Tensor) else [(left, right), (right, left)]
    for scaled, other in pairs:
        if not isinstance(scaled, Node) or scaled.op == "get_attr" or shape(scaled) != shape(node):
            continue
        if not value(scaled).is_floating_point() or value(node).dtype != value(scaled).dtype:
            continue
        number = torch.tensor(other, dtype=torch.float64) if isinstance(other, (int, float)) else constant(graph_module, other)
        if number is not None:
            factor = 1 / number.double() if is_call(node, aten.div.Tensor) else number.double()
            return (scaled, factor) if bool(factor.isfinite().all()) else None
    return None


def _reach(graph_module: GraphModule, node: Node, factor: Tensor) -> Layer | str:
    """The layer whose weights can take `factor` in place of what `node` makes, or why none can."""
    if only_user(node) is None:
        return f"{where(node)} is used unscaled too"
    found = layer(graph_module, node)
    if found is not None:
        return found if per_channel(factor, found) is not None else "the factor differs along more than the channels"
    if factor.numel() > 1:
        return f"a factor per channel does not pass {where(node)}"
    if is_call(node, *_COMMUTING) or (is_call(node, aten.relu.default) and factor.item() > 0):
        source = node.args[0]
        assert isinstance(source, Node)
        return _reach(graph_module, source, factor)
    if is_call(node, *_PRODUCTS):
        if node.args[0] is node.args[1]:
            return f"{where(node)} multiplies a value with itself"
        tried = [_reach(graph_module, side, factor) for side in node.args[:2] if isinstance(side, Node)]
        return next((side for side in tried if isinstance(side, Layer)), tried[0])
    return f"no layer's weights are behind it: {where(node)} does not commute with a factor"
