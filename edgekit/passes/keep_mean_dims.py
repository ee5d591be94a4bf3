"""A mean that drops the axes it is taken over becomes one that keeps them, and a reshape: XNNPACK takes only the first form,
and the other runtimes do not mind."""

from __future__ import annotations

from torch.fx import Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, argument, aten, calls, replace, shape, value, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every mean over given axes that drops them, and every pooling to a single cell."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.mean.dim):
            axes = argument(node, 1, "dim")
            source = node.args[0]
            assert isinstance(source, Node)
            if argument(node, 2, "keepdim", False) or not axes:
                continue
            if value(node).dtype != value(source).dtype:
                changes.refusals.append(Refusal(where(node), f"it makes {value(node).dtype} of {value(source).dtype}"))
                continue
            kept = add_call(node, aten.mean.dim, node.args[0], axes, True)
            replace(node, add_call(node, aten.reshape.default, kept, list(shape(node))))
            changes.changed += 1
        for node in calls(graph_module, aten.adaptive_avg_pool2d.default):
            if shape(node)[-2:] == (1, 1):
                replace(node, add_call(node, aten.mean.dim, node.args[0], [-2, -1], True))
                changes.changed += 1
    return changes
