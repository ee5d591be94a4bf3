"""Products and normalisations of tensors held in low rank, for `limit_rank`: matrix products have one batch axis."""

from __future__ import annotations

import itertools
import math
from typing import Any

from torch.fx import Node

from edgekit.passes._graph import aten
from edgekit.passes._rank_rules import Rule, again, arguments, first
from edgekit.passes._ranks import Held, Ranks, Run, sizes_of


def _by_rows(ranks: Ranks, held: Held, count: int) -> tuple[Node, tuple[int, ...]]:
    """The tensor as [rows, entries], its last `count` axes being the entries; and its order."""
    rank = len(held.sizes)
    tail = tuple(range(rank - count, rank))
    order = (*(axis for axis in held.order if axis not in tail), *tail)
    held = ranks.arranged(held, order)
    return ranks.grouped(held, [list(order[:-count]), list(tail)]), order


def _linear(ranks: Ranks, node: Node) -> Held:
    rows, order = _by_rows(ranks, first(ranks, node), 1)
    return Held(again(ranks, node, rows), sizes_of(node), order)


def _layer_norm(ranks: Ranks, node: Node) -> Held:
    given = arguments(node)
    extents = given["normalized_shape"]
    rows, order = _by_rows(ranks, first(ranks, node), len(extents))
    entries = math.prod(extents)
    weights = {name: ranks.reshaped(given[name], [entries]) for name in ("weight", "bias") if given.get(name) is not None}
    return Held(again(ranks, node, rows, normalized_shape=[entries], **weights), sizes_of(node), order)


def _matmul(ranks: Ranks, node: Node) -> Held:
    left, right = (ranks.get(x) for x in node.args[:2] if isinstance(x, Node))
    sizes = sizes_of(node)
    if min(len(left.sizes), len(right.sizes)) < 2:
        raise ranks.refuse("it multiplies by a vector")
    if len(right.sizes) == 2:
        rows, order = _by_rows(ranks, left, 1)
        return Held(ranks.call(aten.matmul.default, rows, right.node), sizes, order)
    *axes, row, column = range(len(sizes))
    left, right = (ranks.expanded(held, (*sizes[:-2], *held.sizes[-2:])) for held in (left, right))
    batch = [axis for axis in left.order if axis in axes]
    made = _contracted(ranks, (left, [batch, [row], [column]]), (right, [batch, [row], [column]]))
    return Held(made, sizes, (*batch, row, column))


def _contracted(ranks: Ranks, *operands: tuple[Held, list[Run]]) -> Node:
    """[batch, rows, shared] by [batch, shared, columns]; each run of axes is one axis, in the order given."""
    parts = (ranks.grouped(ranks.arranged(held, list(itertools.chain(*groups))), groups) for held, groups in operands)
    return ranks.call(aten.bmm.default, *parts)


def _einsum(ranks: Ranks, node: Node) -> Held:
    """A product of two tensors."""
    equation, operands = node.args[:2]
    assert isinstance(equation, str)
    assert isinstance(operands, (list, tuple))
    terms, _, result = equation.replace(" ", "").partition("->")
    of = terms.split(",")
    if len(of) != 2 or "->" not in equation or "..." in equation or any(len(set(t)) < len(t) for t in (*of, result)):
        raise ranks.refuse("an einsum other than of two tensors, all axes named once in each")
    if any(sum(letter in term for term in (*of, result)) < 2 for letter in of[0] + of[1]):
        raise ranks.refuse("an einsum that sums an axis of one operand alone")
    held = [ranks.get(x) for x in operands if isinstance(x, Node)]
    in_memory = [[of[i][axis] for axis in held[i].order] for i in (0, 1)]
    batch = [letter for letter in in_memory[0] if letter in of[1] and letter in result]
    shared = [letter for letter in in_memory[0] if letter in of[1] and letter not in result]
    rows, columns = ([letter for letter in in_memory[i] if letter not in of[1 - i]] for i in (0, 1))
    groups = [[batch, rows, shared], [batch, shared, columns]]
    numbered = [[[of[i].index(letter) for letter in group] for group in groups[i]] for i in (0, 1)]
    made = _contracted(ranks, (held[0], numbered[0]), (held[1], numbered[1]))
    return Held(made, sizes_of(node), tuple(result.index(letter) for letter in (*batch, *rows, *columns)))


def _attention(ranks: Ranks, node: Node) -> Held:
    """All batch axes but the last are one."""
    given = arguments(node)
    if given.get("enable_gqa"):
        raise ranks.refuse("attention whose keys are shared between heads")
    sizes = sizes_of(node)
    outer = list(range(len(sizes) - 3))

    def four(x: Node) -> Node:
        held = ranks.get(x)
        held = ranks.expanded(held, (*sizes[:-2], *held.sizes[-2:]))
        held = ranks.arranged(held, range(len(sizes)))
        return ranks.grouped(held, [outer, *([axis] for axis in range(len(sizes) - 3, len(sizes)))])

    query, key, value = (four(x) for x in (node.args[0], given["key"], given["value"]) if isinstance(x, Node))
    mask = given.get("attn_mask")
    if isinstance(mask, Node) and len(sizes_of(mask)) > 2:
        given["attn_mask"] = four(mask)
    made = again(ranks, node, query, **given | {"key": key, "value": value})
    return Held(made, sizes, tuple(range(len(sizes))))


PRODUCTS: dict[Any, Rule] = {
    **dict.fromkeys((aten.matmul.default, aten.bmm.default), _matmul),
    aten.einsum.default: _einsum,
    aten.layer_norm.default: _layer_norm,
    aten.linear.default: _linear,
    aten.scaled_dot_product_attention.default: _attention,
}
