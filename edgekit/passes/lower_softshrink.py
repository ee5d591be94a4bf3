"""softshrink(x) with bound b becomes x - clamp(x, -b, b): the same numbers, from operators that every runtime has in its
accelerated part, where converters write comparisons and a choice."""

from __future__ import annotations

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, argument, aten, calls, replace
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Lower every softshrink."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.softshrink.default):
            x, bound = node.args[0], argument(node, 1, "lambd", 0.5)
            replace(node, add_call(node, aten.sub.Tensor, x, add_call(node, aten.clamp.default, x, -bound, bound)))
            changes.changed += 1
    return changes
