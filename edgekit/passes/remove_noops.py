"""Operators that give back their input at inference are removed: dropout outside training, copies, reshapes and slices
that change nothing; a reshape of a reshape keeps the last one. So are checks of what is static: the capture has made them."""

from __future__ import annotations

from torch.fx import Node

from edgekit.passes import Changes
from edgekit.passes._graph import COPIES, DROPOUTS, argument, aten, is_call, replace, shape, value
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_RESHAPES = (aten.view.default, aten.reshape.default)
# A copy before these may be there for the layout it gives.
_READS_LAYOUT = (aten.view_as_complex.default, aten.view.dtype)
# These keep every element where it is when the shape stays: a slice or expansion that takes all, a pool of 1x1 cells.
_SAME_WHEN_SHAPE_STAYS = (
    *_RESHAPES,
    aten._unsafe_view.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.squeeze.dims,
    aten.squeeze.dim,
    aten.expand.default,
    aten.expand_as.default,
    aten.reshape_as.default,
    aten.adaptive_avg_pool2d.default,
)
_CASTS = (aten.to.dtype, aten._to_copy.default, aten.to.dtype_layout, aten.to.device)


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Remove every operator that gives back its input."""
    changes = Changes()
    for graph_module in program:
        for node in list(graph_module.graph.nodes):
            if node.op != "call_function":
                continue
            if is_call(node, aten._assert_tensor_metadata.default):
                graph_module.graph.erase_node(node)
                changes.changed += 1
                continue
            if is_call(node, *_RESHAPES) and is_call(node.args[0], *_RESHAPES):
                node.replace_input_with(node.args[0], node.args[0].args[0])
                changes.changed += 1
            if _is_noop(node):
                replace(node, node.args[0])
                changes.changed += 1
    return changes


def _is_noop(node: Node) -> bool:
    if not (node.args and isinstance(node.args[0], Node) and "val" in node.args[0].meta):
        return False
    source = node.args[0]
    if is_call(node, *DROPOUTS):
        return not argument(node, 2, "train", True)
    if is_call(node, *COPIES):
        return not any(is_call(user, *_READS_LAYOUT) for user in node.users)
    if is_call(node, *_SAME_WHEN_SHAPE_STAYS):
        return shape(node) == shape(source)
    if is_call(node, aten.slice.Tensor):
        return shape(node) == shape(source) and argument(node, 4, "step", 1) == 1
    if is_call(node, *_CASTS):
        return value(node).dtype == value(source).dtype and value(node).device == value(source).device
    if is_call(node, aten.permute.default):
        return node.args[1] == list(range(len(shape(source))))
    if is_call(node, aten.pad.default, aten.constant_pad_nd.default):
        margins = node.args[1]
        return isinstance(margins, (list, tuple)) and not any(margins)
    return False
