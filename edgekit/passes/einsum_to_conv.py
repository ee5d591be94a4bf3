"""An einsum that maps channels by constant weights, position by position, becomes a 1x1 convolution:

1. block-diagonal (AFFNet's spectral filter): "bkihw,kio->bkohw" is a convolution of k groups;
2. dense: "bihw,io->bohw" is one of a single group.

Letters are free; what counts is that the weights' inputs stand right behind the blocks, if there are any, and that everything
else is a position.
"""

from __future__ import annotations

import math

from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, add_constant, aten, calls, constant, replace, shape, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every einsum of an activation with constant weights that is a convolution."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.einsum.default):
            operands = node.args[1]
            assert isinstance(operands, (list, tuple))
            if len(operands) != 2 or constant(graph_module, operands[1]) is None:
                continue
            changes.record(where(node), _rewrite(graph_module, node))
    return changes


def _rewrite(graph_module: GraphModule, node: Node) -> str:
    equation, operands = node.args[0], node.args[1]
    assert isinstance(equation, str)
    assert isinstance(operands, (list, tuple))
    x, weight = operands[0], constant(graph_module, operands[1])
    assert isinstance(x, Node)
    assert weight is not None
    if "->" not in equation or "..." in equation:
        return "its equation leaves the result's axes unsaid"
    sources, result = equation.replace(" ", "").split("->")
    of_x, of_weight = sources.split(",")
    if len(set(of_x)) < len(of_x) or len(set(of_weight)) < len(of_weight):
        return "an axis is taken twice: that is a diagonal"
    blocks, inputs, outputs = (
        [axis for axis in of_weight if axis in of_x and axis in result],
        [axis for axis in of_weight if axis in of_x and axis not in result],
        [axis for axis in of_weight if axis not in of_x and axis in result],
    )
    if len(blocks) > 1 or len(inputs) != 1 or len(outputs) != 1 or len(of_weight) != len(blocks) + 2:
        return "it is no map of channels by one weight"
    channels = "".join(blocks + inputs)
    if of_x[1 : 1 + len(channels)] != channels or result != of_x.replace(inputs[0], outputs[0]):
        return "its channels do not stand behind the batch axis, or its result's axes are in another order"
    positions = [int(size) for size in shape(x)[1 + len(channels) :]]
    if not 1 <= len(positions) <= 2 or len(of_x) == len(channels):
        return "it has no or too many axes of positions"
    order = [of_weight.index(axis) for axis in blocks + outputs + inputs]
    kernel = weight.permute(order)
    groups = kernel.shape[0] if blocks else 1
    kernel = kernel.reshape(-1, kernel.shape[-1], 1, 1)
    plane = [math.prod(positions[:-1]), positions[-1]]
    image = add_call(node, aten.reshape.default, x, [shape(x)[0], groups * kernel.shape[1], *plane])
    rest = [[1, 1], [0, 0], [1, 1], groups] if groups > 1 else []
    made = add_call(node, aten.conv2d.default, image, add_constant(graph_module, node, node.name, kernel), None, *rest)
    replace(node, add_call(node, aten.reshape.default, made, list(shape(node))))
    return ""
