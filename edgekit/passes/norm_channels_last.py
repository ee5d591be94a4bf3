"""GroupNorm of all channels together is taken over the map as channels-last, where the profile says so (`group_norm:
channels_last`): the same numbers in another order, and integers that lie so need no transposing around it.

Its scale and shift are repeated along rows, as in `broadcast_in_rows`.
"""

from __future__ import annotations

from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, add_constant, argument, aten, calls, constant, replace, shape, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every GroupNorm of one group of maps."""
    changes = Changes()
    if profile.group_norm != "channels_last":
        return changes
    for graph_module in program:
        for node in calls(graph_module, aten.group_norm.default):
            if node.args[1] == 1 and len(shape(node)) == 4:
                changes.record(where(node), _rewrite(graph_module, node))
    return changes


def _rewrite(graph_module: GraphModule, node: Node) -> str:
    batch, channels, height, width = shape(node)
    affine = [argument(node, 2, "weight"), argument(node, 3, "bias")]
    rows = [None if given is None else constant(graph_module, given) for given in affine]
    if any(given is not None and row is None for given, row in zip(affine, rows, strict=True)):
        return "its weight or bias is computed"
    x = add_call(node, aten.permute.default, node.args[0], [0, 2, 3, 1])
    x = add_call(node, aten.reshape.default, x, [batch, 1, height * width * channels])
    x = add_call(node, aten.group_norm.default, x, 1, None, None, argument(node, 4, "eps", 1e-5))
    x = add_call(node, aten.reshape.default, x, [batch, height, width, channels])
    for operation, row in zip((aten.mul.Tensor, aten.add.Tensor), rows, strict=True):
        if row is not None:
            repeated = add_constant(graph_module, node, f"{node.name}_row", row.repeat(width, 1))
            x = add_call(node, operation, x, repeated)
    replace(node, add_call(node, aten.permute.default, x, [0, 3, 1, 2]))
    return ""
