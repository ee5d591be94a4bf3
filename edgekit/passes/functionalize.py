"""In-place operators become their pure forms: `relu_(x)` becomes `relu(x)`, and what read x afterwards reads the result.

Refused where the written memory is read afterwards under another name (a view), or is an input or a weight: there only
torch's own functionalization (which lowering runs) sees all the readers. The other passes then leave the graph alone.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._graph import DROPOUTS, add_call, argument, is_call, mutations, replace, value, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

IN_PLACE = True
"""This pass takes graphs that write in place; the runner keeps them from the others."""

_Memory = dict[Node, frozenset[int]]
"""The storages behind each value, as the capture recorded them; a value that was superseded is not in it."""


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every in-place call whose pure form exists and whose memory nothing else reads afterwards."""
    changes = Changes()
    for graph_module in program:
        writes = list(mutations(graph_module))
        memory = _memory(graph_module) if writes else {}
        for node in writes:
            changes.record(where(node), _rewrite(graph_module, node, memory))
    return changes


def _rewrite(graph_module: GraphModule, node: Node, memory: _Memory) -> str:
    assert isinstance(node.target, torch._ops.OpOverload)
    pure = _pure_form(node.target)
    mutated = node.args[0]
    if pure is None or not isinstance(mutated, Node):
        return "no pure form of this operator exists"
    order = {other: position for position, other in enumerate(graph_module.graph.nodes)}
    sharing = [other for other, storages in memory.items() if storages & memory[mutated] and order[other] < order[node]]
    if any(other.op != "call_function" for other in sharing):
        return "it writes to an input or a weight"
    if any(order[user] > order[node] for other in sharing if other is not mutated for user in other.users):
        return "it writes to memory that a view shares"
    new = add_call(node, pure, *node.args, **node.kwargs)
    if value(new).dtype != value(mutated).dtype:
        graph_module.graph.erase_node(new)
        return f"its pure form makes {value(new).dtype}, not {value(mutated).dtype}"
    for user in [*mutated.users, *node.users]:
        if user is not new and order[user] > order[node]:
            user.replace_input_with(mutated, new)
            user.replace_input_with(node, new)
    memory[new] = memory.pop(mutated)
    memory.pop(node)
    graph_module.graph.erase_node(node)
    return ""


def _memory(graph_module: GraphModule) -> _Memory:
    """What each value shares. Dropout at inference goes on the way: it returns its very input, which the capture does not
    record, so that a write to one is a write to both."""
    memory: _Memory = {}
    returned: dict[int, frozenset[int]] = {}
    for node in list(graph_module.graph.nodes):
        if is_call(node, *DROPOUTS) and not argument(node, 2, "train", True):
            returned |= dict.fromkeys(_storages(node), memory[node.args[0]])
            replace(node, node.args[0])
        else:
            memory[node] = frozenset[int]().union(*(returned.get(s, {s}) for s in _storages(node)))
    return memory


def _storages(node: Node) -> list[int]:
    made = node.meta.get("val")
    tensors = made if isinstance(made, (list, tuple)) else [made]
    return [tensor.untyped_storage()._cdata for tensor in tensors if isinstance(tensor, torch.Tensor)]


def _pure_form(target: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    name = target._opname.removesuffix("_")
    packet = getattr(getattr(torch.ops, target.namespace), name, None)
    overload = getattr(packet, target._overloadname, None)
    return overload if isinstance(overload, torch._ops.OpOverload) and not overload._schema.is_mutable else None
