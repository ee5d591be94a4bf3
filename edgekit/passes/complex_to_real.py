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

import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch.fx import Node

from edgekit.passes import Changes
from edgekit.passes._graph import aten, is_call, value
from edgekit.passes._pair_ends import view_as_real
from edgekit.passes._pair_rules import RULES, TO_REAL
from edgekit.passes._pairs import Rewriter, precision
from edgekit.passes._regions import Refused, regions, rewrite
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_Rule = TypeVar("_Rule")


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every connected computation on complex numbers."""
    changes = Changes()
    if profile.complex_numbers:
        return changes
    for graph_module in program:
        for region in regions(graph_module, _is_complex):
            rewriter = Rewriter(graph_module)
            rewrite(rewriter, region, functools.partial(_visit, rewriter), "stays complex", changes)
    return changes


def _is_complex(node: Node) -> bool:
    made = node.meta.get("val")
    tensors = made if isinstance(made, (list, tuple)) else [made]
    return any(isinstance(tensor, torch.Tensor) and tensor.is_complex() for tensor in tensors)


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
        rewriter.instead[node] = rewriter.tensor(answer(rewriter, rewriter.pair(node.args[0], precision(node))), value(node))


def _known(rules: Mapping[Any, _Rule], node: Node) -> _Rule:
    if node.target not in rules:
        raise Refused(node, f"no real form of {node.target} is known")
    return rules[node.target]
