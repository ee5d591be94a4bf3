"""Normalizations that are written out stay in floating point. A variance spans twice the bits of what it is of, and those of
channels differ: with one scale for all, eight bits make zeros of the small ones, by whose root all is divided."""

from __future__ import annotations

from torch.fx import GraphModule, Node

from edgekit.quantize.sites import moves, operator_of

WHY = "it is part of a normalization: a variance spans more than eight bits can tell apart"

_STATISTICS = ("adaptive_avg_pool2d", "add", "avg_pool2d", "conv2d", "div", "mean", "sum")
"""What a mean over a group is made with, and an epsilon added to it."""


def parts(graph_module: GraphModule) -> frozenset[Node]:
    """The calls of every `(x - mean) / sqrt(mean((x - mean)^2) + eps)`, with a mean or without, and of the products that scale
    it."""
    found: set[Node] = set()
    for root in graph_module.graph.nodes:
        if operator_of(root) not in ("rsqrt", "sqrt"):
            continue
        *statistics, square = _made_of(root)
        if not _is_square(square):
            continue
        centred = square.args[0]
        assert isinstance(centred, Node)
        found.update((*statistics, square), _scaled(root, centred))
        if operator_of(centred) == "sub":
            source = centred.args[0]
            *mean, last = _made_of(centred, 1, source)
            found.update(mean if last is source else ())
    return frozenset(found)


def _made_of(node: Node, operand: int = 0, source: object = None) -> list[Node]:
    """`node`, what made that operand of it, and so on, as far as these are statistics or to `source`; last what they are of."""
    chain, before = [node], node.args[operand]
    while isinstance(before, Node) and before is not source and (operator_of(before) in _STATISTICS or moves(before)):
        chain.append(before)
        before = before.args[0]
    return [*chain, before] if isinstance(before, Node) else chain


def _is_square(node: Node) -> bool:
    if operator_of(node) == "pow":
        return bool(node.args[1] == 2)
    return operator_of(node) == "mul" and node.args[0] is node.args[1]


def _scaled(root: Node, centred: Node) -> set[Node]:
    """The products of a root, up to that with what was squared."""
    found, ahead = set(), [root]
    while ahead:
        node = ahead.pop()
        products = {user for user in node.users if operator_of(user) in ("div", "mul")}
        found |= products
        ahead.extend(product for product in products if centred not in product.all_input_nodes)
    return found
