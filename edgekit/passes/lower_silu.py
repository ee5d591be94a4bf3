"""silu(x) becomes x sigmoid(x) where the profile says so (`silu`): some runtimes have both of integers, but not SiLU."""

from __future__ import annotations

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, aten, calls, replace
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Lower every SiLU."""
    changes = Changes()
    if profile.silu == "native":
        return changes
    for graph_module in program:
        for node in calls(graph_module, aten.silu.default):
            x = node.args[0]
            replace(node, add_call(node, aten.mul.Tensor, x, add_call(node, aten.sigmoid.default, x)))
            changes.changed += 1
    return changes
