"""What depends on weights alone is computed once, here, rather than at every inference (LSNet's bias table, say).

Refused where the result is much larger than what it is made from: that would trade compute for bytes to load.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_constant, constant, replace, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

# Growth below this many bytes is always worth a node less.
_FREE_GROWTH_BYTES = 1 << 20


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Replace every pure call on constants by its value."""
    changes = Changes()
    for graph_module in program:
        for node in list(graph_module.graph.nodes):
            if node.op != "call_function" or not _depends_on_constants_alone(graph_module, node):
                continue
            result = _evaluate(graph_module, node)
            if not isinstance(result, torch.Tensor):
                continue  # split and chunk: their parts are folded one by one, as getitem
            growth = result.nbytes - sum(t.nbytes for t in _constants(graph_module, node))
            if growth > _FREE_GROWTH_BYTES:
                changes.refusals.append(Refusal(where(node), f"its value takes {growth:,} bytes more than its inputs"))
                continue
            replace(node, add_constant(graph_module, node, node.name, result))
            changes.changed += 1
    return changes


def _depends_on_constants_alone(graph_module: GraphModule, node: Node) -> bool:
    if node.op == "get_attr":
        return constant(graph_module, node) is not None
    if node.op != "call_function":
        return False
    if isinstance(node.target, torch._ops.OpOverload) and (
        torch.Tag.nondeterministic_seeded in node.target.tags or node.target._schema.is_mutable
    ):
        return False
    return _is_tensor_maker(node) and all(_depends_on_constants_alone(graph_module, n) for n in node.all_input_nodes)


def _is_tensor_maker(node: Node) -> bool:
    made = node.meta.get("val")
    return isinstance(made, torch.Tensor) or (
        isinstance(made, (list, tuple)) and all(isinstance(part, torch.Tensor) for part in made)
    )


def _evaluate(graph_module: GraphModule, node: Node) -> Any:
    def load(argument: Node) -> Any:
        found = constant(graph_module, argument)
        return _evaluate(graph_module, argument) if found is None else found

    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), load)
    assert callable(node.target)
    with torch.no_grad():
        return node.target(*args, **kwargs)


def _constants(graph_module: GraphModule, node: Node) -> list[torch.Tensor]:
    found = [constant(graph_module, n) for n in node.all_input_nodes]
    return [tensor for tensor in found if tensor is not None]
