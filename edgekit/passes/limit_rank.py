"""No tensor above the profile's largest rank: what computes on more axes than the runtime takes does so on fewer, exactly.

1. A tensor of high rank is held as one of low rank whose axes stand for several: to most operators, axes that lie side by side
   are one, and those of one entry are none. Reshapes and permutations of it cost nothing until it is needed in their order.
2. Elementwise operators, reductions, slices, concatenations, expansions and products run on axes merged so far as they treat
   them alike; a permutation that is left is one transpose of merged axes, or several that each bring more of them together.
3. Window partitions, pixel shuffles, grouped attention and their like, reshaped back in the end, so keep a transpose or two.

Refused where an operator treats more axes apart than the runtime takes, or no form of it is known here, and where the program's
own input or output has too high a rank. What is connected through tensors of high rank is rewritten whole or left whole.
"""

from __future__ import annotations

import functools

import torch
from torch.fx import Node

from edgekit.passes import Changes
from edgekit.passes._graph import aten, is_call
from edgekit.passes._rank_products import PRODUCTS
from edgekit.passes._rank_rules import RULES, SPLITS, is_pointwise, pointwise, split
from edgekit.passes._ranks import Ranks
from edgekit.passes._regions import Refused, regions, rewrite
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_KNOWN = RULES | PRODUCTS


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Lower every connected computation on tensors of more axes than the profile's largest rank."""
    changes = Changes()
    if profile.max_rank is None:
        return changes
    for graph_module in program:
        for region in regions(graph_module, functools.partial(_is_above, profile.max_rank)):
            ranks = Ranks(graph_module, profile.max_rank)
            rewrite(ranks, region, functools.partial(_visit, ranks), "keeps its rank", changes)
    return changes


def _is_above(limit: int, node: Node) -> bool:
    made = node.meta.get("val")
    tensors = made if isinstance(made, (list, tuple)) else [made]
    return any(isinstance(tensor, torch.Tensor) and tensor.dim() > limit for tensor in tensors)


def _visit(ranks: Ranks, node: Node) -> None:
    """Build what a node of a region is to become."""
    if node.op in ("placeholder", "output"):
        above = node if node.op == "placeholder" else next(x for x in node.all_input_nodes if _is_above(ranks.limit, x))
        end = "input" if node.op == "placeholder" else "output"
        raise Refused(node, f"the program's {end} has rank {above.meta['val'].dim()}, above {ranks.limit}")
    if ranks.knows(node) or is_call(node, aten._assert_tensor_metadata.default):
        return
    if is_call(node, *SPLITS):
        split(ranks, node)
    elif is_pointwise(node):
        ranks.put(node, pointwise(ranks, node))
    elif node.target in _KNOWN:
        ranks.put(node, _KNOWN[node.target](ranks, node))
    else:
        raise Refused(node, f"no form of {node.target} below rank {ranks.limit + 1} is known")
