"""What amplifies by channel how far a map is from its mean folds into the convolution that makes the map:

    x + g (x - mean(x))     becomes     y + conv(mean(y)), where y = (1 + g) x and the convolution multiplies by -g / (1 + g)

One operator on the whole map is left of three; the convolution, a weight a channel, reads a single pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, add_constant, argument, aten, calls, constant, is_call, replace, where
from edgekit.passes._layers import Layer, layer, per_channel
from edgekit.passes.pool_means import is_spatial
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_LEAST = 0.01
"""The smallest magnitude of 1 + g: the quotient by it amplifies round-off."""


@dataclass(frozen=True)
class _Deviation:
    """The nodes of `x + gain (x - mean)`, `gain` being [C, 1, 1] or the like."""

    whole: Node
    x: Node
    product: Node
    difference: Node
    mean: Node
    gain: Tensor


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Fold every such sum whose map a convolution makes for it alone."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.add.Tensor):
            found = _deviation(graph_module, node)
            if found is not None:
                changes.record(where(node), _folded(graph_module, found))
    return changes


def _deviation(graph_module: GraphModule, whole: Node) -> _Deviation | None:
    """What a sum adds, where it is of that form."""
    for x, product in (whole.args[:2], whole.args[1::-1]):
        if not (isinstance(x, Node) and is_call(product, aten.mul.Tensor)) or argument(whole, 2, "alpha", 1) != 1:
            continue
        assert isinstance(product, Node)
        for difference, factor in (product.args[:2], product.args[1::-1]):
            gain = constant(graph_module, factor)
            if gain is None or not is_call(difference, aten.sub.Tensor):
                continue
            assert isinstance(difference, Node)
            minuend, mean = difference.args[:2]
            if minuend is x and is_call(mean, aten.mean.dim) and argument(difference, 2, "alpha", 1) == 1:
                assert isinstance(mean, Node)
                if mean.args[0] is x and is_spatial(mean):
                    return _Deviation(whole, x, product, difference, mean, gain)
    return None


def _folded(graph_module: GraphModule, found: _Deviation) -> str:
    """Fold one; or why not."""
    maker = layer(graph_module, found.x)
    gain = None if maker is None else per_channel(found.gain, maker)
    if maker is None or not maker.is_conv or gain is None:
        return "no convolution makes the map, or the gain is not one a channel of it"
    if not found.x.users.keys() <= {found.whole, found.difference, found.mean}:
        return f"{where(found.x)} is used otherwise too"
    if any(len(node.users) > 1 for node in (found.mean, found.difference, found.product)):
        return "its parts are used otherwise too"
    if float((1 + gain).abs().min()) < _LEAST:
        return f"it takes a channel away: a gain is within {_LEAST:g} of -1"
    _fold(graph_module, found, maker, gain.double().expand(maker.weight.shape[0]))
    return ""


def _fold(graph_module: GraphModule, found: _Deviation, maker: Layer, gain: Tensor) -> None:
    maker.rewrite(graph_module, *maker.scaled(1 + gain))
    weight = (-gain / (1 + gain)).reshape(-1, 1, 1, 1).to(maker.weight.dtype)
    read = add_constant(graph_module, found.whole, f"{found.mean.name}_weight", weight)
    settings = ([1, 1], [0, 0], [1, 1], len(gain))
    shift = add_call(found.whole, aten.conv2d.default, found.mean, read, None, *settings)
    replace(found.whole, add_call(found.whole, aten.add.Tensor, found.x, shift))
