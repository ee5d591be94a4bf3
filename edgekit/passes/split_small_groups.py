"""A convolution of a few channels a group becomes depthwise ones, where the profile says so (`small_groups`): runtimes make it
one small product of matrices a group, or leave their own layout for it.

With `a` channels in and `b` out a group, x_i the i-th channel of every group and y_j likewise,

    y_j = sum over i of depthwise(x_i, W[j, i])                    y = y_0, y_1, ... instead of interleaved

No channel is moved for it: the layers that make x make each x_i by itself, and those that read y read it in the new order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._blocks import UNARY
from edgekit.passes._graph import (
    add_call,
    add_constant,
    argument,
    aten,
    calls,
    is_call,
    only_user,
    replace,
    shape,
    where,
)
from edgekit.passes._layers import Layer, layer
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_BINARY = (aten.add.Tensor, aten.mul.Tensor, aten.sub.Tensor)
_PER_CHANNEL = (*UNARY, aten.mean.dim, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default)
_MOST = 2
"""Channels a group, in and out: `a * b` depthwise convolutions take the place of one."""


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Take every such convolution apart whose neighbours can take the new order of channels."""
    changes = Changes()
    if profile.small_groups == "native":
        return changes
    for graph_module in program:
        for node in calls(graph_module, aten.conv2d.default):
            found = layer(graph_module, node)
            if found is None or found.groups == 1 or max(_sizes(found)) == 1 or max(_sizes(found)) > _MOST:
                continue
            reason = _take_apart(graph_module, found)
            if reason:
                changes.refusals.append(Refusal(where(node), reason))
            else:
                changes.changed += 1
    return changes


def _sizes(found: Layer) -> tuple[int, int]:
    """Channels a group: in, out."""
    return found.weight.shape[1], found.weight.shape[0] // found.groups


def _take_apart(graph_module: GraphModule, found: Layer) -> str:
    node, groups = found.node, found.groups
    inputs, outputs = _sizes(found)
    order = torch.arange(groups * outputs).reshape(groups, outputs).T.flatten()
    behind = _Behind(graph_module)
    reason = behind.follow(node) if outputs > 1 else ""
    parts = _Parts(graph_module, groups, inputs)
    reason = reason or parts.why_not(found.source, node)
    if reason:
        return reason
    behind.reorder(order)
    sources = parts.build(found.source, node)
    results = []
    for j in range(outputs):
        total = None
        for i, source in enumerate(sources):
            kernel = add_constant(graph_module, node, f"{node.name}_{j}{i}", found.weight[j::outputs, i : i + 1])
            bias = None
            if found.bias is not None and i == 0:
                bias = add_constant(graph_module, node, f"{node.name}_{j}_bias", found.bias[j::outputs])
            spacing = [list(found.stride), list(found.padding), list(found.dilation)]
            term = add_call(node, aten.conv2d.default, source, kernel, bias, *spacing, groups)
            total = term if total is None else add_call(node, aten.add.Tensor, total, term)
        assert total is not None
        results.append(total)
    replace(node, results[0] if outputs == 1 else add_call(node, aten.cat.default, results, 1))
    return ""


@dataclass
class _Parts:
    """What comes before the convolution, computed once for each place in a group."""

    graph_module: GraphModule
    groups: int
    size: int
    region: dict[Node, None] = field(default_factory=dict)
    gathers: list[Node] = field(default_factory=list)

    def why_not(self, source: Node, reader: Node) -> str:
        """Why the channels of `source` cannot be computed apart; empty when they can."""
        reason = self._collect(source)
        for node in self.region:
            for user in node.users:
                if user in self.region or user is reader or reason:
                    continue
                if node is source and self._is_gather(user):
                    self.gathers.append(user)
                else:
                    reason = f"{where(node)} is used whole by {where(user)} too"
        return reason

    def _collect(self, node: Node) -> str:
        if node in self.region:
            return ""
        self.region[node] = None
        found = layer(self.graph_module, node)
        if found is not None and found.groups == 1:
            return ""
        if is_call(node, *UNARY):
            return self._collect(node.all_input_nodes[0])
        if is_call(node, *_BINARY):
            return next((r for r in (self._collect(o) for o in self._full(node)) if r), "")
        return f"no layer makes the channels of {where(node)} one by one"

    def _full(self, node: Node) -> list[Node]:
        """The operands of a product or sum that have its channels."""
        return [operand for operand in node.all_input_nodes if len(shape(operand)) > 2 and shape(operand)[1] == shape(node)[1]]

    def _is_gather(self, user: Node) -> bool:
        return is_call(user, aten.gather.default) and bool(user.args[1] == 1)

    def build(self, source: Node, before: Node) -> list[Node]:
        """The parts of `source`; gathers from the whole of it gather from them."""
        parts = []
        for place in range(self.size):
            made: dict[Node, Node] = {}
            for node in sorted(self.region):
                made[node] = self._part(node, made, slice(place, None, self.size))
            parts.append(made[source])
        channels = self.groups * self.size
        moved = torch.arange(channels).reshape(self.size, self.groups).T.flatten()  # where each channel is in `cat(parts)`
        for gather in self.gathers:
            index = argument(gather, 2, "index")
            table = add_constant(self.graph_module, gather, f"{gather.name}_places", moved)
            whole = parts[0] if self.size == 1 else add_call(gather, aten.cat.default, parts, 1)
            flat = add_call(gather, aten.reshape.default, index, [-1])
            places = add_call(gather, aten.index_select.default, table, 0, flat)
            places = add_call(gather, aten.reshape.default, places, list(shape(index)))
            replace(gather, add_call(gather, aten.gather.default, whole, 1, places))
        return parts

    def _part(self, node: Node, made: dict[Node, Node], rows: slice) -> Node:
        assert callable(node.target)
        found = layer(self.graph_module, node)
        if found is None:
            arguments = torch.fx.map_arg(node.args, lambda n: made.get(n, n))
            return add_call(node, node.target, *arguments, **node.kwargs)
        weight = add_constant(self.graph_module, node, f"{node.name}_part", found.weight[rows])
        bias = None
        if found.bias is not None:
            bias = add_constant(self.graph_module, node, f"{node.name}_part_bias", found.bias[rows])
        return add_call(node, node.target, found.source, weight, bias, *node.args[3:])


@dataclass
class _Behind:
    """What comes after the convolution and takes its channels in another order."""

    graph_module: GraphModule
    carriers: dict[Node, None] = field(default_factory=dict)
    writers: dict[Node, None] = field(default_factory=dict)
    """Layers whose outputs meet the reordered channels."""
    readers: dict[Node, None] = field(default_factory=dict)
    """Layers that take them."""

    def follow(self, start: Node) -> str:
        """Find all that must change. Says why it cannot; empty when it can."""
        self.carriers[start] = None
        for node in start.graph.nodes:
            if not any(operand in self.carriers for operand in node.all_input_nodes):
                continue
            reason = self._meet(node, shape(start)[1])
            if reason:
                return reason
        return ""

    def _meet(self, node: Node, channels: int) -> str:
        found = layer(self.graph_module, node)
        if found is not None and found.is_conv and found.groups == 1:
            self.readers[node] = None
            return ""
        if is_call(node, *_PER_CHANNEL):
            if is_call(node, aten.mean.dim) and not self._keeps_channels(node):
                return f"{where(node)} is a mean over channels"
            self.carriers[node] = None
            return ""
        if is_call(node, *_BINARY):
            self.carriers[node] = None
            others = [operand for operand in node.all_input_nodes if operand not in self.carriers]
            return next((r for r in (self._write(o, channels) for o in others) if r), "")
        return f"{where(node)} needs the channels in their order"

    def _keeps_channels(self, node: Node) -> bool:
        rank = len(shape(node.all_input_nodes[0]))
        axes = [axis % rank for axis in argument(node, 1, "dim") or [1]]
        return 1 not in axes and 0 not in axes and bool(argument(node, 2, "keepdim", False))

    def _write(self, node: Node, channels: int) -> str:
        """Follow an operand up to the layer that makes its channels."""
        if len(shape(node)) > 1 and shape(node)[1] == 1:
            return ""
        found = layer(self.graph_module, node)
        if found is not None and found.is_conv and found.groups == 1 and only_user(node) is not None:
            self.writers[node] = None
            return ""
        if is_call(node, *_PER_CHANNEL) and only_user(node) is not None:
            return self._write(node.all_input_nodes[0], channels)
        return f"no layer makes the channels of {where(node)}, which meet its own"

    def reorder(self, order: Tensor) -> None:
        for node in self.writers:
            found = layer(self.graph_module, node)
            assert found is not None
            found.rewrite(self.graph_module, found.weight[order], None if found.bias is None else found.bias[order])
        for node in self.readers:
            found = layer(self.graph_module, node)
            assert found is not None
            found.rewrite(self.graph_module, found.weight[:, order], found.bias)
