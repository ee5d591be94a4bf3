"""Complex numbers become pairs of real tensors, one node for the real parts and one for the imaginary.

1. Inside a computation the pair is two nodes that only this pass knows to belong together: no axis of two is made. Views act
   on each part, products and sums by the rules of i * i = -1, and the imaginary part of a real number costs nothing.
2. It begins at complex weights, `complex`, `polar`, `view_as_complex`, casts; the last is traced back past the stacking or
   permuting that laid the parts side by side, and past what acts on each entry alone (AFFNet's soft shrinkage).
3. It ends at `real`, `imag`, `abs`, `angle`; and at `view_as_real`, where the parts are laid side by side, in the place where
   a permutation after it would bring them (SpaRTAN's pairs of channels).

Nothing is changed for a runtime that has complex numbers. What is connected through complex values is rewritten whole or, when
one operator in it is not known here or lies at the program's border, left whole. Exact for finite values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import aten, is_call, value, where
from edgekit.passes._pair_ends import view_as_real
from edgekit.passes._pair_rules import RULES, TO_REAL
from edgekit.passes._pairs import Refused, Rewriter, precision
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_Rule = TypeVar("_Rule")


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every connected computation on complex numbers."""
    changes = Changes()
    if profile.complex_numbers:
        return changes
    for graph_module in program:
        for region in _regions(graph_module):
            refusal = _rewrite(graph_module, region)
            if refusal:
                changes.refusals.append(refusal)
            else:
                changes.changed += 1
    return changes


def _is_complex(node: Node) -> bool:
    made = node.meta.get("val")
    tensors = made if isinstance(made, (list, tuple)) else [made]
    return any(isinstance(tensor, torch.Tensor) and tensor.is_complex() for tensor in tensors)


def _regions(graph_module: GraphModule) -> list[list[Node]]:
    """The nodes that make or read complex values, by connection through such values, each region in execution order.
    Weights belong to none: each reader has its own pair of them."""
    region_of: dict[Node, list[Node]] = {}
    for node in graph_module.graph.nodes:
        sources = [source for source in node.all_input_nodes if _is_complex(source)]
        if node.op == "get_attr" or not (sources or _is_complex(node)):
            continue
        joined = [node]
        for source in sources:
            if source in region_of and region_of[source] is not joined:
                joined = region_of[source] + [other for other in joined if other not in region_of[source]]
        for member in joined:
            region_of[member] = joined
    order = {node: position for position, node in enumerate(graph_module.graph.nodes)}
    distinct = {id(region): region for region in region_of.values()}.values()
    return [sorted(region, key=order.__getitem__) for region in distinct]


def _rewrite(graph_module: GraphModule, region: list[Node]) -> Refusal | None:
    rewriter = Rewriter(graph_module)
    try:
        for node in region:
            rewriter.begin(node)
            _visit(rewriter, node)
    except Refused as refused:
        rewriter.undo()
        return Refusal(where(refused.node), f"{refused.reason}; what is connected to it stays complex")
    order = {node: position for position, node in enumerate(graph_module.graph.nodes)}
    old = sorted({*region, *rewriter.real}, key=order.__getitem__, reverse=True)
    for node in old:  # the last first: what takes the place of one may be another that goes
        if node in rewriter.real:
            node.replace_all_uses_with(rewriter.real[node])
    for node in old:
        graph_module.graph.erase_node(node)
    return None


def _visit(rewriter: Rewriter, node: Node) -> None:
    """Build what a node of a region is to become."""
    if node.op in ("placeholder", "output"):
        raise Refused(node, f"the program's {'input' if node.op == 'placeholder' else 'output'} is complex")
    if is_call(node, aten._assert_tensor_metadata.default):
        return  # its dtype is what the rewrite changes
    if is_call(node, aten.view_as_real.default):
        view_as_real(rewriter, node)
    elif _is_complex(node):
        rewriter.pairs[node] = rewriter.settled(node, _known(RULES, node)(rewriter, node))
    else:
        answer = _known(TO_REAL, node)
        if precision(node) == torch.bool:
            raise Refused(node, "complex numbers as truth values")
        rewriter.real[node] = rewriter.tensor(answer(rewriter, rewriter.pair(node.args[0], precision(node))), value(node))


def _known(rules: Mapping[Any, _Rule], node: Node) -> _Rule:
    if node.target not in rules:
        raise Refused(node, f"no real form of {node.target} is known")
    return rules[node.target]
