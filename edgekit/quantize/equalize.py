"""Channels scaled before ranges are taken, so that the one scale of a tensor, or of a weight's row, fits all its channels.

Where a layer or a normalization makes channels that only layers read, through operators that commute with a positive factor for
each channel, it can divide them by factors that its readers multiply by: the model computes what it did. The factors are chosen

- by `weights`: a channel becomes as large in the weights that make it as in those that read it (Nagel et al. 2019, "Data-Free
  Quantization through Weight Equalization and Bias Correction", equation 11), over and over until chains of layers agree;
- by `activations`: a channel's values and the weights that read it share the difficulty (Xiao et al. 2023, "SmoothQuant",
  equation 4, alpha one half).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.borders import Tensors
from edgekit.passes._graph import argument, aten, constant, is_call, shape
from edgekit.passes._layers import layer
from edgekit.program import Function
from edgekit.quantize import observe

By = Literal["weights", "activations"]

_ROUNDS = 40
_SETTLED = 0.01
"""Of a factor's logarithm: rounds end when none changes by more."""

_COMMUTING = (
    aten.relu.default,
    aten.leaky_relu.default,
    aten.clone.default,
    aten.contiguous.default,
)
"""Operators that commute with a positive factor for each channel, and keep the axes; so do these, over the last two."""
_POOLS = (aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default)
_RESHAPES = (
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
)

_Values = dict[str, Tensor]
"""Weights in float64, by what their `get_attr` nodes read."""


@dataclass(frozen=True)
class Link:
    """A node that makes channels, and the layers that alone read them."""

    producer: Node
    divided: tuple[str, ...]
    """Its weight, channels first, and its bias if it has one."""
    readers: tuple[Node, ...]
    """Convolutions and linears."""

    @property
    def is_layer(self) -> bool:
        """Or a normalization, whose weights say nothing of its channels' size."""
        return not is_call(self.producer, aten.layer_norm.default, aten.group_norm.default)

    @property
    def multiplied(self) -> tuple[str, ...]:
        """The readers' weights."""
        return tuple(str(node.args[1].target) for node in self.readers if isinstance(node.args[1], Node))


def apply(function: Function, by: By, samples: Sequence[Tensors]) -> list[str]:
    """Scale the channels of a graph in place, wherever that changes nothing but round-off; the nodes that make them."""
    graph_module = function.graph_module
    found = [link for link in links(graph_module) if link.is_layer or by == "activations"]
    names = {name for link in found for name in (*link.divided, *link.multiplied)}
    values = {name: _tensor(graph_module, name).double() for name in names}
    if by == "activations":
        largest = _largest_activations(function, found, samples)
        for link in found:
            seen = torch.stack([largest[_source(reader)] for reader in link.readers]).amax(0).double()
            _scale(link, _factors(seen, _largest_read(link, values)), values)
    else:
        for _ in range(_ROUNDS):
            steps = [_balance(link, values) for link in found]
            if max(steps, default=0.0) < _SETTLED:
                break
    for name, tensor in values.items():
        _write(graph_module, name, tensor)
    return [link.producer.name for link in found]


def _balance(link: Link, values: _Values) -> float:
    """Make a link's channels as large where they are made as where they are read; how much that changed, as a logarithm."""
    made = values[link.divided[0]].flatten(1).abs().amax(1)
    factors = _factors(made, _largest_read(link, values))
    _scale(link, factors, values)
    return float(factors.log().abs().max())


def _factors(made: Tensor, read: Tensor) -> Tensor:
    """[channels]: sqrt(made / read); one for a channel that is all zeros on either side."""
    return torch.where((made > 0) & (read > 0), (made / read).sqrt(), torch.ones_like(made))


def _largest_read(link: Link, values: _Values) -> Tensor:
    """[channels]: the largest magnitude among each channel's weights in any reader."""
    found = [_by_input(values[name], reader) for reader, name in zip(link.readers, link.multiplied, strict=True)]
    return torch.stack([weight.abs().amax((1, 3)).flatten() for weight in found]).amax(0)


def _scale(link: Link, factors: Tensor, values: _Values) -> None:
    """Divide a link's channels by `factors` where they are made, and multiply them where they are read."""
    for name in link.divided:
        values[name] = values[name] / factors.view(-1, *[1] * (values[name].dim() - 1))
    for reader, name in zip(link.readers, link.multiplied, strict=True):
        weight = _by_input(values[name], reader)
        groups, _, inputs, _ = weight.shape
        values[name] = (weight * factors.view(groups, 1, inputs, 1)).view(values[name].shape)


def _by_input(weight: Tensor, reader: Node) -> Tensor:
    """A reader's weight as [groups, outputs, inputs, taps], the latter two sizes those of one group."""
    groups = 1 if is_call(reader, aten.linear.default) else int(argument(reader, 6, "groups", 1))
    return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)


def _largest_activations(function: Function, found: Sequence[Link], samples: Sequence[Tensors]) -> dict[Node, Tensor]:
    """[channels]: the largest magnitude that each channel of what is read took over the samples."""
    axes = {_source(reader): _input_axis(reader) for link in found for reader in link.readers}
    largest: dict[Node, Tensor] = {}

    def widen(node: Node, made: Tensor) -> None:
        seen = made.abs().amax([place for place in range(made.dim()) if place != axes[node]])
        largest[node] = torch.maximum(largest[node], seen) if node in largest else seen

    observe.watch(function, set(axes), samples, widen)
    return largest


def links(graph_module: GraphModule) -> list[Link]:
    """Every place where channels can be scaled, in execution order."""
    found = []
    for node in graph_module.graph.nodes:
        made = _produced(graph_module, node)
        if made is None:
            continue
        axis, divided = made
        readers = _readers(graph_module, node, axis)
        if readers and _own(graph_module, [*divided, *(reader.args[1] for reader in readers)]):
            found.append(Link(node, tuple(str(constant.target) for constant in divided), tuple(readers)))
    return found


def _produced(graph_module: GraphModule, node: Node) -> tuple[int, list[Node]] | None:
    """The axis of the channels that a node makes, and the constants to divide; None for one that makes none."""
    made = layer(graph_module, node)
    if made is not None:
        axis, given = made.channel_axis, [node.args[1], argument(node, 2, "bias")]
    elif is_call(node, aten.group_norm.default):
        axis, given = 1, [argument(node, 2, "weight"), argument(node, 3, "bias")]
    elif is_call(node, aten.layer_norm.default) and len(argument(node, 1, "normalized_shape")) == 1:
        axis, given = len(shape(node)) - 1, [argument(node, 2, "weight"), argument(node, 3, "bias")]
    else:
        return None
    divided = [one for one in given if isinstance(one, Node)]
    whole = given[0] is not None and all(constant(graph_module, one) is not None for one in divided)
    return (axis, divided) if whole else None


def _own(graph_module: GraphModule, weights: Sequence[object]) -> bool:
    """Whether nothing else reads these weights, and each of them once."""
    read = [str(node.target) for node in graph_module.graph.find_nodes(op="get_attr") for _ in node.users]
    return all(isinstance(weight, Node) and read.count(str(weight.target)) == 1 for weight in weights)


def _readers(graph_module: GraphModule, node: Node, axis: int) -> list[Node] | None:
    """The layers that read the channels along `axis` of what a node makes; None where anything else does."""
    readers: list[Node] = []
    scaled = {node}
    waiting = [(node, axis)]
    for made, place in waiting:
        for user in made.users:
            found = layer(graph_module, user)
            if found is not None and made is user.args[0] and place == _input_axis(user):
                readers.append(user)
                continue
            behind = _axis_behind(user, made, place)
            if behind is None:
                return None
            scaled.add(user)
            waiting.append((user, behind))
    products = [user for user in scaled if is_call(user, aten.mul.Tensor)]
    if any(sum(operand in scaled for operand in product.args[:2]) > 1 for product in products):
        return None  # scaled twice
    return readers


def _axis_behind(user: Node, made: Node, axis: int) -> int | None:
    """Where the channels along `axis` of `made` lie in what `user` makes of it; None where it does not commute with factors."""
    if is_call(user, *_COMMUTING):
        return axis
    rank = len(shape(made))
    if is_call(user, *_POOLS):
        return axis if axis < rank - 2 else None
    if is_call(user, aten.mul.Tensor) or (is_call(user, aten.div.Tensor) and user.args[0] is made):
        same = len(shape(user)) == rank and shape(user)[axis] == shape(made)[axis]
        return axis if same and user.args[0] is not user.args[1] else None
    if is_call(user, aten.permute.default):
        order: list[int] = [place % rank for place in argument(user, 1, "dims")]
        return order.index(axis)
    if is_call(user, aten.transpose.int):
        first, second = int(argument(user, 1, "dim0")) % rank, int(argument(user, 2, "dim1")) % rank
        return {first: second, second: first}.get(axis, axis)
    if is_call(user, aten.mean.dim):
        reduced = {place % rank for place in argument(user, 1, "dim") or range(rank)}
        kept = bool(argument(user, 2, "keepdim", False))
        return None if axis in reduced else axis - (0 if kept else sum(place < axis for place in reduced))
    return _axis_reshaped(shape(made), shape(user), axis) if is_call(user, *_RESHAPES) else None


def _axis_reshaped(before: Sequence[int], after: Sequence[int], axis: int) -> int | None:
    """Where an axis lies once a tensor is reshaped; None where it is split or joined with another."""
    if not all(isinstance(size, int) for size in (*before[1:], *after[1:])) or axis == 0:
        return None
    if before[0] != after[0]:
        return None
    for place in range(1, len(after)):
        if math.prod(after[1:place]) == math.prod(before[1:axis]) and after[place] == before[axis]:
            return place
    return None


def _source(reader: Node) -> Node:
    source = reader.args[0]
    assert isinstance(source, Node)
    return source


def _input_axis(reader: Node) -> int:
    """The axis of a layer's input that holds its channels."""
    return len(shape(_source(reader))) - 1 if is_call(reader, aten.linear.default) else 1


def _tensor(graph_module: GraphModule, name: str) -> Tensor:
    owner, _, leaf = name.rpartition(".")
    found: Tensor = getattr(graph_module.get_submodule(owner), leaf)
    return found.detach()


def _write(graph_module: GraphModule, name: str, values: Tensor) -> None:
    """Let the graph read other values under the name of the old ones, which other programs may share."""
    owner, _, leaf = name.rpartition(".")
    module = graph_module.get_submodule(owner)
    new = values.to(_tensor(graph_module, name).dtype)
    setattr(module, leaf, torch.nn.Parameter(new, requires_grad=False) if leaf in module._parameters else new)
