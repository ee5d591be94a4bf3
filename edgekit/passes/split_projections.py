"""A convolution or linear whose output is only split along its channels becomes one layer a part:

    q, k, v = split(conv(x))   becomes   q = conv_q(x);  k = conv_k(x);  v = conv_v(x)

The work is the same; what goes is the copy, and with it the leave from a runtime's own layout (ONNX Runtime) or delegate
(XNNPACK) that a split forces.
"""

from __future__ import annotations

import operator
from typing import Any

from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, add_constant, argument, aten, calls, is_call, only_user, replace, shape, where
from edgekit.passes._layers import Layer, layer
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_SPLITS = (aten.split_with_sizes.default, aten.split.Tensor, aten.chunk.default)


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Split every layer whose output is only split."""
    changes = Changes()
    for graph_module in program:
        for split in calls(graph_module, *_SPLITS):
            found = layer(graph_module, split.args[0])
            if found is None:
                continue
            reason = _why_not(found, split)
            if reason:
                changes.refusals.append(Refusal(where(split), reason))
                continue
            _split(graph_module, found, split)
            changes.changed += 1
    return changes


def _why_not(found: Layer, split: Node) -> str:
    rank = len(shape(found.node))
    if argument(split, 2, "dim", 0) % rank != found.channel_axis:
        return "it splits another axis than the channels"
    if only_user(found.node) is not split:
        return f"{where(found.node)} is used whole too"
    if any(not is_call(part, operator.getitem) for part in split.users):
        return "its parts are used as a list"
    sizes = _sizes(found, split)
    outputs_a_group = found.weight.shape[0] // found.groups
    if found.groups > 1 and any(size % outputs_a_group for size in sizes):
        return f"{where(found.node)} has groups that a part would cut"
    return ""


def _sizes(found: Layer, split: Node) -> list[int]:
    return [int(part.shape[found.channel_axis]) for part in split.meta["val"]]


def _split(graph_module: GraphModule, found: Layer, split: Node) -> None:
    sizes = _sizes(found, split)
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    hint = found.node.name
    for part in list(split.users):
        index = part.args[1]
        assert isinstance(index, int)
        rows = slice(starts[index], starts[index] + sizes[index])
        source: Node = found.source
        rest: list[Any] = list(found.node.args[3:])
        if found.groups > 1:
            source, rest = _own_groups(found, part, rows, rest)
        weight = add_constant(graph_module, part, f"{hint}_part{index}", found.weight[rows])
        bias = None if found.bias is None else add_constant(graph_module, part, f"{hint}_part{index}_bias", found.bias[rows])
        assert callable(found.node.target)
        new = add_call(part, found.node.target, source, weight, bias, *rest)
        replace(part, new)


def _own_groups(found: Layer, part: Node, rows: slice, rest: list[Any]) -> tuple[Node, list[Any]]:
    """The slice of the input that a part's groups see, and the layer's further arguments with that many groups."""
    outputs_a_group, inputs_a_group = found.weight.shape[0] // found.groups, found.weight.shape[1]
    first, last = rows.start // outputs_a_group, rows.stop // outputs_a_group
    source = add_call(part, aten.slice.Tensor, found.source, 1, first * inputs_a_group, last * inputs_a_group)
    filled = [*rest, *([1, 0, 1][len(rest) :] if len(rest) < 3 else [])]
    return source, [*filled[:3], last - first]
