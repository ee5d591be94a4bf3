"""In-place operators become their pure forms: `relu_(x)` becomes `relu(x)`, and what read x afterwards reads the result.

Refused where a view shares the mutated memory, or the memory is an input or a weight: there only torch's own
functionalization (which lowering runs) sees all the readers.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, mutations, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every in-place call whose pure form exists and whose memory nothing else shares."""
    changes = Changes()
    for graph_module in program:
        for node in list(mutations(graph_module)):
            reason = _rewrite(graph_module, node)
            if reason:
                changes.refusals.append(Refusal(where(node), reason))
            else:
                changes.changed += 1
    return changes


def _rewrite(graph_module: GraphModule, node: Node) -> str:
    assert isinstance(node.target, torch._ops.OpOverload)
    pure = _pure_form(node.target)
    if pure is None:
        return "no pure form of this operator exists"
    mutated = node.args[0]
    assert isinstance(mutated, Node)
    if mutated.op != "call_function":
        return "it writes to an input or a weight"
    if _is_view(mutated) or any(_is_view(user) for user in mutated.users if user is not node):
        return "it writes to memory that a view shares"
    new = add_call(node, pure, *node.args, **node.kwargs)
    order = {other: position for position, other in enumerate(graph_module.graph.nodes)}
    for user in [*mutated.users, *node.users]:
        if user is not new and order[user] > order[node]:
            user.replace_input_with(mutated, new)
            user.replace_input_with(node, new)
    graph_module.graph.erase_node(node)
    return ""


def _pure_form(target: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    name = target._opname.removesuffix("_")
    packet = getattr(getattr(torch.ops, target.namespace), name, None)
    overload = getattr(packet, target._overloadname, None)
    return overload if isinstance(overload, torch._ops.OpOverload) and not overload._schema.is_mutable else None


def _is_view(node: Node) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.op == "call_function"  # getitem: part of a split or chunk, which are views
    return any(argument.alias_info is not None and not argument.alias_info.is_write
               for argument in node.target._schema.arguments)  # fmt: skip
