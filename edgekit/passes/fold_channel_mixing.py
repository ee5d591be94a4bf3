"""A linear map of channels folds into the convolution behind it, for both are linear and the map acts on each pixel alone:

    conv(A p + b s, W)   =   conv(p, W A) + conv(s, W b)

`A p` may be written in any way: slices, stacks and reshapes of the channels, products with constants, sums. So pairs of
channels turned as complex numbers, or a channel shuffle, cost nothing; zero padding stays right because the map adds no
constant. A depthwise convolution grows groups by it: only where the profile says what to do with small ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, add_constant, argument, aten, calls, constant, is_call, replace, shape, value, where
from edgekit.passes._layers import Layer, layer
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_VIEWS = (aten.reshape.default, aten.view.default, aten.unflatten.int, aten.flatten.using_ints)
_PICKS = (aten.slice.Tensor, aten.select.int, aten.unsqueeze.default, aten.squeeze.dim)
_JOINS = (aten.stack.default, aten.cat.default)
_SUMS = (aten.add.Tensor, aten.sub.Tensor)
_ELEMENTWISE = (*_SUMS, aten.mul.Tensor, aten.neg.default)

_ELEMENTWISE_MACS = 8
"""The multiply-adds of a convolution that take as long as an elementwise operator on one number, which waits for memory."""
_MOST_WEIGHTS = 2**26

Mixture = dict[Node, Tensor]
"""A value as sums over the channels of other nodes: coefficients [1, *channel axes, channels of the node, 1] for each."""


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Fold the linear map before every convolution where that makes less work."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.conv2d.default):
            found = layer(graph_module, node)
            region = [] if found is None else _region(graph_module, found)
            if found is None or not region:
                continue
            reason = _fold(graph_module, found, region, small_groups=profile.small_groups == "depthwise")
            if reason:
                changes.refusals.append(Refusal(where(node), reason))
            else:
                changes.changed += 1
    return changes


def _region(graph_module: GraphModule, found: Layer) -> list[Node]:
    """The nodes of the map before a convolution, those used elsewhere left out, in execution order."""
    image = tuple(shape(found.source)[-2:])
    outside: set[Node] = set()
    while True:
        region = dict.fromkeys(_linear(graph_module, found.source, image, outside))
        shared = {n for n in region if any(user not in region and user is not found.node for user in n.users)}
        if not shared:
            return sorted(region)
        outside |= shared


def _linear(graph_module: GraphModule, node: Node, image: tuple[int, ...], outside: set[Node]) -> Iterator[Node]:
    if node in outside or not _is_linear(graph_module, node, image):
        return
    yield node
    for operand in node.all_input_nodes:
        yield from _linear(graph_module, operand, image, outside)


def _is_linear(graph_module: GraphModule, node: Node, image: tuple[int, ...]) -> bool:
    """Whether a node maps channels linearly and leaves every pixel where it is."""
    if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor) or tuple(shape(node)[-2:]) != image:
        return False
    operands = [operand for operand in node.all_input_nodes if constant(graph_module, operand) is None]
    if any(tuple(shape(operand)[-2:]) != image or shape(operand)[0] != shape(node)[0] for operand in operands):
        return False
    rank = len(shape(node))
    if is_call(node, *_VIEWS, aten.neg.default):
        return True
    if is_call(node, *_PICKS, *_JOINS):
        rank = max(rank, value(operands[0]).dim())
        return 0 < int(argument(node, 1, "dim", 0)) % rank < rank - 2
    if is_call(node, *_SUMS):
        return (
            bool(argument(node, 2, "alpha", 1) == 1) and len(operands) == 2 and all(isinstance(o, Node) for o in node.args[:2])
        )
    if is_call(node, aten.mul.Tensor) and len(operands) == 1:
        others = [operand for operand in node.args if operand is not operands[0]]
        return all(isinstance(o, (int, float)) or _per_channel(graph_module, o) for o in others)
    return False


def _per_channel(graph_module: GraphModule, node: object) -> bool:
    tensor = constant(graph_module, node)
    if tensor is None:
        return False
    return tensor.numel() == 1 or (tensor.dim() > 2 and tensor.shape[-2:] == (1, 1))


def _fold(graph_module: GraphModule, found: Layer, region: list[Node], *, small_groups: bool) -> str:
    mixtures: dict[Node, Mixture] = {}

    def mixture(node: Node) -> Mixture:
        if node in mixtures:
            return mixtures[node]
        channels = shape(node)[1]
        return {node: torch.eye(channels, dtype=torch.float64).reshape(1, channels, channels, 1)}

    for node in region:
        if any(len(shape(n)) != 4 for n in node.all_input_nodes if n not in mixtures and constant(graph_module, n) is None):
            return f"{where(node)} takes a value that is no map of channels"
        mixtures[node] = _mixed(graph_module, node, mixture)
    weights = {source: _composed(found, mix) for source, mix in mixtures[found.source].items()}
    if any(weight is None for weight in weights.values()):
        return "its weights would not fit"
    inputs_a_group = found.weight.shape[1]
    wider = max(weight.shape[1] for source, weight in weights.items() if weight is not None)
    if found.groups > 1 and wider > inputs_a_group and not small_groups:
        return f"its groups would grow from {inputs_a_group} to {wider} channels"
    before = found.weight.numel() + sum(_ELEMENTWISE_MACS * math.prod(shape(n)[1:-2]) for n in region if _computes(n))
    after = sum(weight.numel() for weight in weights.values() if weight is not None)
    after += _ELEMENTWISE_MACS * found.weight.shape[0] * (len(weights) - 1)  # the sum of several convolutions
    if after >= before:
        return "the convolution would take longer than the map before it does"
    node, total = found.node, None
    bias = argument(node, 2, "bias")
    for source, weight in weights.items():
        assert weight is not None
        kernel = add_constant(graph_module, node, f"{node.name}_mixed", weight.to(found.weight.dtype))
        groups = shape(source)[1] // weight.shape[1]
        spacing = [list(found.stride), list(found.padding), list(found.dilation)]
        term = add_call(node, aten.conv2d.default, source, kernel, None if total else bias, *spacing, groups)
        total = term if total is None else add_call(node, aten.add.Tensor, total, term)
    assert total is not None
    replace(node, total)
    return ""


def _computes(node: Node) -> bool:
    return is_call(node, *_ELEMENTWISE, *_JOINS)


def _mixed(graph_module: GraphModule, node: Node, mixture: Any) -> Mixture:
    """What a node of the region makes, from what its operands are."""
    axes = (1, *shape(node)[1:-2])
    compute: Any = node.target  # an operator of `_ELEMENTWISE` or `_JOINS`: `_computes` chose the region
    if is_call(node, *_JOINS):
        joined: Any = node.args[0]  # nodes, as the operators' schemas have it
        parts = [mixture(part) for part in joined]
        sizes = [(1, *shape(part)[1:-2]) for part in joined]
        sources = dict.fromkeys(source for part in parts for source in part)
        dim = argument(node, 1, "dim", 0)
        return {
            source: compute([_coefficients(part, source, size) for part, size in zip(parts, sizes, strict=True)], dim)
            for source in sources
        }
    if is_call(node, *_SUMS):
        parts = [mixture(part) for part in node.args[:2]]
        sources = dict.fromkeys(source for part in parts for source in part)
        return {source: compute(*(_coefficients(part, source, axes) for part in parts)) for source in sources}
    [operand] = [n for n in node.all_input_nodes if constant(graph_module, n) is None]
    made: Mixture = {}
    for source, tensor in mixture(operand).items():
        if is_call(node, *_VIEWS):
            made[source] = tensor.expand(1, *shape(operand)[1:-2], -1, 1).reshape(*axes, -1, 1)
            continue
        found = [constant(graph_module, a) if isinstance(a, Node) and a is not operand else a for a in node.args]
        arguments = [a.double() if isinstance(a, Tensor) else tensor if a is operand else a for a in found]
        made[source] = compute(*arguments, **node.kwargs)
    return made


def _coefficients(mix: Mixture, source: Node, axes: tuple[int, ...]) -> Tensor:
    """The share of `source` in a value with those axes before the pixels; zero when it has none."""
    channels = shape(source)[1]
    found = mix.get(source)
    return torch.zeros(*axes, channels, 1, dtype=torch.float64) if found is None else found.expand(*axes, channels, 1)


def _composed(found: Layer, coefficients: Tensor) -> Tensor | None:
    """Kernel times coefficients, [out, in / groups, *kernel], in as many groups as there are; None when it is too large."""
    outputs, inputs_a_group = found.weight.shape[:2]
    mixing = coefficients.reshape(-1, coefficients.shape[-2])  # [channels the convolution takes, channels of the source]
    channels = mixing.shape[1]
    if outputs * channels * found.weight[0, 0].numel() > _MOST_WEIGHTS:
        return None
    kernels = found.weight.double().reshape(found.groups, outputs // found.groups, inputs_a_group, -1)
    whole = torch.einsum("goik,gic->gock", kernels, mixing.reshape(found.groups, inputs_a_group, channels))
    whole = whole.reshape(outputs, channels, -1)
    most = math.gcd(outputs, channels)
    for groups in (number for number in range(most, 0, -1) if most % number == 0):
        tiles = whole.reshape(groups, outputs // groups, groups, channels // groups, -1)
        own = torch.diagonal(tiles, dim1=0, dim2=2)  # [out a group, in a group, kernel, groups]
        if own.count_nonzero() == whole.count_nonzero():
            return own.permute(3, 0, 1, 2).reshape(outputs, channels // groups, *found.weight.shape[2:])
    raise AssertionError("one group holds every weight")
