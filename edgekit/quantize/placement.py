"""Which operators are better left in floating point, though the runtime has integer kernels for them: judged by their
neighbours, which a scheme that looks at one operator cannot see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch.fx import Node

from edgekit.passes._graph import argument
from edgekit.profiles import IntegerSupport
from edgekit.quantize.plan import Assignment
from edgekit.quantize.sites import Site, moves, operator_of

_STATIC = ("uint8", "int8")
"""The activation formats that are crossed into and out of."""


def refined(found: Sequence[Site], plan: Mapping[Node, Assignment], support: IntegerSupport) -> dict[Node, Assignment]:
    """The plan with those operators left in floating point, each with its reason:

    - convolutions of so few input channels that the kernel has little to add up, and of several channels a group;

    and where the runtime's profile says that conversions are dear (`conversions`)

    - the last layer: its result is read in floating point, and its rounding errors would be the outputs';
    - what has no weight, unless it reads integers and makes them for another.
    """
    chosen = dict(plan)
    for site in found:
        if chosen[site.node].activation in _STATIC and (why := _too_slow(site, support)):
            chosen[site.node] = site.left(why)
    if support.conversions == "dear":
        _keep_together(found, chosen, support)
    return chosen


def _keep_together(found: Sequence[Site], chosen: dict[Node, Assignment], support: IntegerSupport) -> None:
    last = next((site for site in reversed(found) if site.weight is not None), None)
    if last is not None and chosen[last.node].activation in _STATIC:
        chosen[last.node] = last.left("the last layer: its result is read in floating point")
    changed = True
    while changed:
        changed = False
        for site in found:
            if site.weight is None and chosen[site.node].activation in _STATIC and not _is_between(site.node, chosen, support):
                chosen[site.node], changed = site.left("it does not lie between operators that compute with integers"), True


def _too_slow(site: Site, support: IntegerSupport) -> str:
    if site.operator != "conv2d" or site.weight is None:
        return ""
    channels, groups = site.weight.values.shape[1], int(argument(site.node, 6, "groups", 1))
    if groups == 1 and channels < support.least_channels:
        return f"{channels} input channels are too few for the integer kernel to be faster"
    if groups > 1 and channels > 1 and not support.grouped:
        return "convolutions of several channels a group are slower with integers"
    return ""


def _is_between(node: Node, plan: Mapping[Node, Assignment], support: IntegerSupport) -> bool:
    """Whether the operator reads what an integer operator made, and makes what one reads."""

    def is_integer(other: Node) -> bool:
        return other in plan and plan[other].activation in _STATIC

    def passes(other: Node) -> bool:
        name = operator_of(other)
        return (moves(other) and name in support.moves) or name in support.fused

    def before(other: Node) -> bool:
        return any(is_integer(source) or (passes(source) and before(source)) for source in other.all_input_nodes)

    def behind(other: Node) -> bool:
        return any(is_integer(user) or (passes(user) and behind(user)) for user in other.users)

    return before(node) and behind(node)
