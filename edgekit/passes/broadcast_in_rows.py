"""A value for each channel is repeated along a row of the map that it is added to or multiplied with, where the profile says so
(`broadcast: rows`):

    x * gate[B, C, 1, 1]     becomes     x * repeat(gate)[B, C, 1, W]

ONNX Runtime's integers lie with the channels of a pixel side by side, and it broadcasts by calling its kernel once for each run
of memory in which neither operand repeats: pixel by pixel for a value a channel, row by row for a row of them.

Constants stay: most have become part of a convolution, and what is left of them is of parts that compute in floating point,
whose pixels lie side by side.
"""

from __future__ import annotations

from torch.fx import Node

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, aten, calls, shape, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_LEAST_WIDTH = 14
"""Pixels in a row for which repeating pays: reports/LOG.md."""


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Repeat what sums and products of maps broadcast over all pixels."""
    changes = Changes()
    if profile.broadcast == "native":
        return changes
    for graph_module in program:
        rows: dict[tuple[Node, int], Node] = {}
        for node in calls(graph_module, aten.add.Tensor, aten.mul.Tensor):
            for operand in [given for given in node.all_input_nodes if _is_broadcast(given, node)]:
                height, width = shape(node)[2:]
                if width < _LEAST_WIDTH or height == 1:
                    changes.record(where(node), f"a map of {height}x{width} is too small for that to pay")
                    continue
                if (operand, width) not in rows:
                    rows[operand, width] = add_call(node, aten.repeat.default, operand, [1, 1, 1, width])
                node.replace_input_with(operand, rows[operand, width])
                changes.changed += 1
    return changes


def _is_broadcast(operand: Node, node: Node) -> bool:
    """Whether an operand is one computed value a channel of the map that `node` makes."""
    made, given = shape(node), shape(operand)
    if operand.op == "get_attr" or len(made) != 4 or len(given) != 4:
        return False
    return made[1] > 1 and given[1:] == (made[1], 1, 1) and made[2:] != (1, 1)
