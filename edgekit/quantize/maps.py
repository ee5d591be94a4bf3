"""Which maps are better left in floating point: where a model begins with few channels on large maps, integer kernels save less
than it costs to get into integers, and around what has no integer kernel.

Operators that read maps of one size are judged together, by what the runtime's profile says each saves (`saves`): one alone
never pays, for it has neighbours with integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch.fx import Node

from edgekit.passes._graph import argument, shape
from edgekit.profiles import IntegerSupport, Savings
from edgekit.quantize.insert import Crossings
from edgekit.quantize.plan import Assignment
from edgekit.quantize.sites import Site, operator_of

_LEAST = 0.02
"""The part of what is judged that must be saved: estimates are no closer."""
_SPREADING = frozenset(("add", "gelu", "hardswish", "leaky_relu", "mul", "relu", "sigmoid", "silu", "sub"))
"""Operators that take a map in any layout, and leave it so."""


def in_floating_point(
    found: Sequence[Site],
    plan: dict[Node, Assignment],
    support: IntegerSupport,
    refined: Callable[[dict[Node, Assignment]], dict[Node, Assignment]],
) -> dict[Node, Assignment]:
    """The plan with those operators left that read maps of a size, the largest first, which the profile tells to be faster so;
    `refined` leaves what then has no neighbours. Something stays: integers were asked for."""
    if support.saves is None or not found:
        return plan
    best = saved_ns(found, plan, support)
    for size in sorted({size for site in found if (size := _map_size(site))}, reverse=True):
        without = refined(_left(found, plan, size))
        saved = saved_ns(found, without, support)
        if saved > best + _LEAST * abs(best) and any(one.is_static for one in without.values()):
            plan, best = without, saved
    return plan


def _left(found: Sequence[Site], plan: Mapping[Node, Assignment], size: tuple[int, int]) -> dict[Node, Assignment]:
    why = f"on maps of {size[0]}x{size[1]} integers save less than it costs to get there"
    read = [site for site in found if _map_size(site) == size and plan[site.node].is_static]
    return {**plan, **{site.node: site.left(why) for site in read}}


def _map_size(site: Site) -> tuple[int, int] | None:
    """Height and width of the maps that an operator reads; None for anything else, and where a size is dynamic."""
    sizes = shape(site.activations[0])[2:] if site.activations and len(shape(site.activations[0])) == 4 else ()
    return (sizes[0], sizes[1]) if sizes and all(type(size) is int for size in sizes) and min(sizes) > 1 else None


def saved_ns(found: Sequence[Site], plan: Mapping[Node, Assignment], support: IntegerSupport) -> float:
    """By integers where the plan has them, less what it takes to get in and out."""
    graph_module = found[0].node.graph.owning_module
    assert support.saves is not None
    assert graph_module is not None
    within = Crossings(graph_module, plan, support)
    saved = sum(_kernel_ns(site, support.saves) for site in found if plan[site.node].is_static)
    for node in within.formats:
        if node.op != "get_attr" and (_is_read(node, within) if node not in within.made else _is_left(node, within)):
            saved += support.saves.conversion * _elements(node)
    floats = [site for site in found if site.operator == "conv2d" and not plan[site.node].is_static]
    layouts = {node for site in floats for node in (*_before(site.source, within), *_behind(site.node, within))}
    return saved + support.saves.layout * sum(map(_elements, layouts))


def _kernel_ns(site: Site, saves: Savings) -> float:
    if site.operator == "gelu":
        return saves.gelu * _elements(site.node)
    if site.weight is None or site.operator not in ("conv2d", "linear"):
        return 0.0
    made = _elements(site.node)
    if site.operator == "conv2d" and argument(site.node, 6, "groups", 1) != 1:
        return saves.depthwise_result * made
    return saves.product * made * math.prod(site.weight.values.shape[1:]) + saves.result * made


def _is_read(node: Node, within: Crossings) -> bool:
    return any(user in within.readers for user in node.users)


def _is_left(node: Node, within: Crossings) -> bool:
    return any(user not in within.readers for user in node.users)


def _before(node: Node, within: Crossings) -> set[Node]:
    """The tensors that integer operators make, and that reach `node` in any layout."""

    def onward(there: Node) -> list[Node]:
        return there.all_input_nodes if there not in within.made and operator_of(there) in _SPREADING else []

    return _reached(node, onward) & within.made


def _behind(node: Node, within: Crossings) -> set[Node]:
    """The tensors that integer operators read, and that `node` reaches in any layout."""

    def onward(there: Node) -> list[Node]:
        return [user for user in there.users if user not in within.readers and operator_of(user) in _SPREADING]

    return {there for there in _reached(node, onward) if _is_read(there, within)}


def _reached(start: Node, onward: Callable[[Node], list[Node]]) -> set[Node]:
    """`start`, and all that such steps lead to."""
    seen: set[Node] = set()
    waiting = [start]
    while waiting:
        if (node := waiting.pop()) not in seen:
            seen.add(node)
            waiting += onward(node)
    return seen


def _elements(node: Node) -> int:
    """Of a batch of one, where the batch is dynamic."""
    return math.prod(size for size in shape(node) if type(size) is int)
