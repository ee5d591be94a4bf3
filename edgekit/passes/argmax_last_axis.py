"""Argmax is taken over the last axis, its operand transposed, where the profile says so (`argmax`): ONNX Runtime goes through
the values one by one, and a map's channels of one pixel are a whole plane apart.

A reshape stands between the two: without it ONNX Runtime takes the transposition back (transpose_optimization).
"""

from __future__ import annotations

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, argument, aten, calls, replace, shape
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every argmax over another axis than the last."""
    changes = Changes()
    if profile.argmax == "native":
        return changes
    for graph_module in program:
        for node in calls(graph_module, aten.argmax.default):
            source, axis = node.all_input_nodes[0], argument(node, 1, "dim")
            rank = len(shape(source))
            if axis is None or axis % rank == rank - 1:
                continue
            others = [place for place in range(rank) if place != axis % rank]
            transposed = add_call(node, aten.permute.default, source, [*others, axis % rank])
            rows = add_call(node, aten.reshape.default, transposed, [-1, shape(source)[axis]])
            found = add_call(node, aten.argmax.default, rows, 1)
            replace(node, add_call(node, aten.reshape.default, found, list(shape(node))))
            changes.changed += 1
    return changes
