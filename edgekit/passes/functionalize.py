"""In-place operators become their pure forms: `relu_(x)` becomes `relu(x)`, and what read x afterwards reads the result.

Where the written memory is read afterwards under another name (a view), or is an input or a buffer (a counter, a cache), or
where the pure form has another dtype, torch's own functionalization rewrites the graph, which finds nearly every reader: where
what it makes computes something else, the writes stay and are refused.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import DROPOUTS, STATE, add_call, argument, aten, calls, is_call, mutations, replace, value, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Function, Program, unlifted

IN_PLACE = True
"""This pass takes graphs that write in place; the runner keeps them from the others."""

_Memory = dict[Node, frozenset[int]]
"""The storages behind each value, as the capture recorded them; a value that was superseded is not in it."""


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every in-place call."""
    changes = Changes()
    for function in program.functions.values():
        writes = list(mutations(function.graph_module))
        memory = _memory(function.graph_module) if writes else {}
        left = {where(node): reason for node in writes if (reason := _rewrite(function.graph_module, node, memory))}
        changes.changed += len(writes) - len(left)
        if left and _through_torch(function):
            changes.changed += len(left)
        else:
            changes.refusals += [Refusal(node, reason) for node, reason in left.items()]
    return changes


def _through_torch(function: Function) -> bool:
    """Let torch write the graph as values, with a `copy_` to each written input or buffer at its end. An input's is for nobody
    to read; a buffer's stays, and the buffer is no constant from here on. False where the values are not the same: torch does
    not see that an einsum may share its operand's memory."""
    function.graph_module.recompile()
    before, outputs = function.graph_module, function.run(function.example_inputs)
    function.graph_module = unlifted(function.traced().run_decompositions({}))
    for name, found in function.run(function.example_inputs).items():
        if not torch.allclose(found, outputs[name], equal_nan=True):
            function.graph_module = before
            return False
    _mark_state(function)
    return True


def _mark_state(function: Function) -> None:
    graph = function.graph_module.graph
    for norm in calls(function.graph_module, aten._native_batch_norm_legit_no_training.default):
        source, weight, bias, mean, variance, momentum, eps = norm.args
        batch_norm = add_call(norm, aten.batch_norm.default, source, weight, bias, mean, variance, False, momentum, eps, False)
        for part in list(norm.users):  # one: inference makes no statistics
            replace(part, batch_norm)
    written = {write.args[0]: write for write in mutations(function.graph_module)}
    for destination, write in written.items():
        assert isinstance(destination, Node)
        write.meta["val"] = value(destination)
        if destination.op == "placeholder":
            graph.erase_node(write)
    states = {node.target for node in written if isinstance(node, Node) and node.op == "get_attr"}
    for node in graph.find_nodes(op="get_attr"):
        node.meta[STATE] = node.target in states


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
