"""Sums of several terms: `a + b + c` is a tree of two-term additions in the graph."""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import GraphModule, Node

from edgekit.passes._graph import add_call, argument, aten, calls, is_call, only_user, replace, shape

_ADDS = (aten.add.Tensor,)


def is_sum(node: object) -> bool:
    """Whether `node` adds two tensors of its own shape, unscaled."""
    return (
        is_call(node, *_ADDS)
        and isinstance(node, Node)
        and argument(node, 2, "alpha", 1) == 1
        and all(isinstance(term, Node) and "val" in term.meta and shape(term) == shape(node) for term in node.args[:2])
    )


def sums(graph_module: GraphModule) -> list[Node]:
    """The tops of the addition trees: sums that no further sum alone takes up."""
    return [n for n in calls(graph_module, *_ADDS) if is_sum(n) and not is_sum(only_user(n))]


def terms(top: Node) -> list[Node]:
    """The terms of the tree under `top`, in order; a sum that is used elsewhere too is itself a term."""
    found: list[Node] = []
    for term in top.args[:2]:
        assert isinstance(term, Node)
        found += terms(term) if is_sum(term) and only_user(term) is not None else [term]
    return found


def replace_terms(top: Node, merged: list[Node], make: Callable[[], Node]) -> None:
    """Rewrite the tree at `top` as what `make` builds in place of the `merged` terms, plus the other terms."""
    others = [term for term in terms(top) if term not in merged]
    total = make()
    for term in others:
        total = add_call(top, aten.add.Tensor, total, term)
    replace(top, total)
