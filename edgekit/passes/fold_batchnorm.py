"""BatchNorm at inference is `s * x + t` per channel; it folds into the convolution or linear beside it.

1. Backward, into the layer before it, when the BatchNorm is that layer's only user: W' = s W, b' = s b + t.
2. Forward, into the layers after it, when they are its only users: W' = W s, b' = b + W t. Exact when the layer does not
   pad, or when t = 0: a padded layer pads with zeros, where the folded one would need -t / s.
3. Forward through a spatial mean, which every per-channel affine map commutes with, into the classifier behind it.

What neither case reaches stays a BatchNorm. (Jacob et al., 1712.05877, section 3.2, for the first case.)
"""

from __future__ import annotations

from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._absorption import absorbed, why_not_absorb
from edgekit.passes._graph import argument, aten, calls, constant, is_call, only_user, replace, shape, where
from edgekit.passes._layers import layer
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Fold every BatchNorm that a layer beside it can take."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.batch_norm.default):
            changes.record(where(node), _fold(graph_module, node))
    return changes


_RESHAPES = (aten.flatten.using_ints, aten.view.default, aten.reshape.default, aten.squeeze.dim, aten.squeeze.dims)


def _fold(graph_module: GraphModule, node: Node) -> str:
    affine = _affine(graph_module, node)
    if affine is None:
        return "its statistics are not constants"
    scale, shift = affine
    source = node.args[0]
    assert isinstance(source, Node)
    before = layer(graph_module, source)
    if before is not None and before.channel_axis == 1 and len(source.users) == 1:
        before.rewrite(graph_module, *before.scaled(scale, shift))
        replace(node, source)
        return ""
    end = _behind_means(node)
    after = [layer(graph_module, user) for user in end.users]
    reason = why_not_absorb(end, after, shift)
    if not reason:
        for user in after:
            assert user is not None
            user.rewrite(graph_module, *absorbed(user, scale, shift))
        replace(node, source)
        return ""
    if before is None:
        return f"no convolution or linear feeds it, and {reason}"
    if before.channel_axis != 1:
        return f"it normalises axis 1, the linear before it makes axis {before.channel_axis}, and {reason}"
    return f"the layer before it has other users, and {reason}"


def _affine(graph_module: GraphModule, node: Node) -> tuple[Tensor, Tensor] | None:
    """The (scale, shift) a BatchNorm applies, each [C] in float64; None when it is in training or computed."""
    _, weight_node, bias_node, mean_node, var_node, training, _, eps, *_ = node.args
    mean, variance = constant(graph_module, mean_node), constant(graph_module, var_node)
    weight, bias = constant(graph_module, weight_node), constant(graph_module, bias_node)
    computed = (weight_node is not None and weight is None) or (bias_node is not None and bias is None)
    if training or mean is None or variance is None or computed:
        return None
    assert isinstance(eps, float)
    scale = (variance.double() + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean.double() * scale
    return scale, shift if bias is None else shift + bias


def _behind_means(node: Node) -> Node:
    """The last of the spatial means, and reshapes that drop the axes they leave, that stand alone behind `node`."""
    user = only_user(node)
    if user is None:
        return node
    spatial = set(range(2, len(shape(node))))
    if is_call(user, aten.mean.dim):
        axes = argument(user, 1, "dim")
        if axes and {axis % len(shape(node)) for axis in axes} <= spatial:
            return _behind_means(user)
    elif is_call(user, aten.adaptive_avg_pool2d.default) and len(shape(node)) == 4:
        return _behind_means(user)
    elif is_call(user, *_RESHAPES) and all(size == 1 for size in shape(node)[2:]) and shape(user) == shape(node)[:2]:
        return user
    return node
