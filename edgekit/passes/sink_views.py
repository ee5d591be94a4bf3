"""Elementwise operators move in front of the reshapes of their operands: op(view(a), view(b)) becomes view(op(a, b)). Reshapes
then meet and vanish, and a chain between two layers stays in the layers' own shape."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, add_constant, aten, constant, is_call, replace, shape, value, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_VIEWS = (aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten.unflatten.int)
_ELEMENTWISE = (
    aten.abs.default,
    aten.add.Tensor,
    aten.clamp.default,
    aten.div.Tensor,
    aten.gelu.default,
    aten.hardswish.default,
    aten.mul.Tensor,
    aten.neg.default,
    aten.relu.default,
    aten.sigmoid.default,
    aten.sign.default,
    aten.silu.default,
    aten.softshrink.default,
    aten.sub.Tensor,
    aten.tanh.default,
)


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Sink every reshape that an elementwise operator can pass, and join those that meet."""
    changes = Changes()
    for graph_module in program:
        for node in list(graph_module.graph.nodes):
            if is_call(node, *_ELEMENTWISE) and any(is_call(operand, *_VIEWS) for operand in node.args):
                changes.record(where(node), _sink(graph_module, node))
            elif is_call(node, *_VIEWS) and is_call(node.args[0], *_VIEWS):
                _join(node)
                changes.changed += 1
    return changes


def _join(node: Node) -> None:
    source = node.args[0].args[0]  # type: ignore[union-attr]  # a call of a view, as the caller checked
    assert isinstance(source, Node)
    if shape(source) == shape(node):
        replace(node, source)
    else:
        replace(node, add_call(node, aten.reshape.default, source, list(shape(node))))


def _sink(graph_module: GraphModule, node: Node) -> str:
    """Move `node` in front of the reshapes of its operands; or why not."""
    views = [operand for operand in node.args if is_call(operand, *_VIEWS) and isinstance(operand, Node)]
    if any(shape(view) != shape(node) or value(view).dtype != value(node).dtype for view in views):
        return "a reshaped operand broadcasts, or is of another dtype"
    bases = [base for view in views if isinstance(base := view.args[0], Node)]
    inner = shape(bases[0])
    if any(shape(base) != inner for base in bases):
        return "its operands are reshaped from different shapes"
    operands: list[object] = []
    for operand in node.args:
        if not isinstance(operand, Node):
            operands.append(operand)
        elif operand in views:
            operands.append(operand.args[0])
        else:
            tensor = constant(graph_module, operand)
            if tensor is None:
                return f"its operand {where(operand)} is neither reshaped nor a constant"
            reshaped = _reshaped(tensor, shape(node), inner)
            if reshaped is None:
                return f"its constant {where(operand)} would take more numbers"
            operands.append(add_constant(graph_module, node, str(operand.target), reshaped))
    assert callable(node.target)
    inside = add_call(node, node.target, *operands, **node.kwargs)
    replace(node, add_call(node, aten.reshape.default, inside, list(shape(node))))
    return ""


def _reshaped(tensor: Tensor, outer: tuple[int, ...], inner: tuple[int, ...]) -> Tensor | None:
    """`tensor`, which broadcasts to `outer`, as one that broadcasts to `inner`; None when that would store more numbers."""
    if tensor.numel() == 1:
        return tensor.reshape(())
    if isinstance(outer[0], torch.SymInt) and outer[0] == inner[0]:
        outer, inner = (1, *outer[1:]), (1, *inner[1:])  # a constant is the same for all of a batch
    if any(isinstance(size, torch.SymInt) for size in (*outer, *inner)):
        return None
    full = torch.broadcast_to(tensor, outer).reshape(inner)
    for axis in range(full.dim()):
        first = full.narrow(axis, 0, 1)
        if torch.equal(full, first.expand_as(full)):
            full = first
    return full.clone() if full.numel() <= tensor.numel() else None
