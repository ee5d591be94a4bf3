"""Linear layers of one input whose results are added become one; with the scale folded, that averages two heads:

(head(x) + head_dist(x)) / 2   =   head'(x) / 2          W' = W + W_dist
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, add_constant, aten, only_user, where
from edgekit.passes._layers import Layer, layer
from edgekit.passes._sums import replace_terms, sums, terms
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Merge the linears of one input in every sum."""
    changes = Changes()
    for graph_module in program:
        for top in sums(graph_module):
            _merge_in(graph_module, top, changes)
    return changes


def _merge_in(graph_module: GraphModule, top: Node, changes: Changes) -> None:
    parts = terms(top)
    found = (layer(graph_module, term) for term in dict.fromkeys(parts))
    heads = [head for head in found if head is not None and not head.is_conv]
    for source in dict.fromkeys(head.source for head in heads):
        group = [head for head in heads if head.source is source]
        if len(group) < 2:
            continue
        shared = [head for head in group if only_user(head.node) is None]
        if shared:
            changes.refusals.append(Refusal(where(top), f"{where(shared[0].node)} is used elsewhere too"))
            continue
        if any(parts.count(head.node) > 1 for head in group):
            changes.refusals.append(Refusal(where(top), "one head is added twice"))
            continue
        replace_terms(top, [head.node for head in group], lambda g=group: _build(graph_module, top, g))  # type: ignore[misc]  # bound early: the loop goes on
        changes.changed += 1
        return  # the tree is another one now


def _build(graph_module: GraphModule, top: Node, group: list[Layer]) -> Node:
    first = group[0]
    dtype, hint = first.weight.dtype, first.node.name
    weight = torch.stack([head.weight.double() for head in group]).sum(0)
    bias = None
    if any(head.bias is not None for head in group):
        total = torch.stack([head.bias_or_zeros().double() for head in group]).sum(0)
        bias = add_constant(graph_module, top, f"{hint}_bias", total.to(dtype))
    return add_call(top, aten.linear.default, first.source, add_constant(graph_module, top, hint, weight.to(dtype)), bias)
