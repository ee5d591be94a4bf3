"""Which operators are better left in floating point, though the runtime has integer kernels for them: judged by their
neighbours, which a scheme that looks at one operator cannot see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch.fx import Node

from edgekit.passes._graph import argument
from edgekit.profiles import IntegerSupport
from edgekit.quantize import maps
from edgekit.quantize.plan import Assignment
from edgekit.quantize.sites import Site, moves, operator_of


def refined(found: Sequence[Site], plan: Mapping[Node, Assignment], support: IntegerSupport) -> dict[Node, Assignment]:
    """The plan with those operators left in floating point, each with its reason:

    - convolutions of so few channels that gathering what lies under the kernel takes longer than multiplying it, and of several
      channels a group;
    - operators on maps of a size on which integers do not pay (`maps`);

    and where the runtime's profile says that conversions are dear (`conversions`)

    - the last layer: its result is read in floating point, and its rounding errors would be the outputs';
    - what has no weight, unless it reads integers and makes them for another.
    """
    chosen = dict(plan)
    for site in found:
        if chosen[site.node].is_static and (why := _too_slow(site, support)):
            chosen[site.node] = site.left(why)
    together = partial(_together, found, support=support)
    return maps.in_floating_point(found, together(chosen), support, together)


def _together(found: Sequence[Site], plan: Mapping[Node, Assignment], support: IntegerSupport) -> dict[Node, Assignment]:
    chosen = dict(plan)
    if support.conversions != "dear":
        return chosen
    last = next((site for site in reversed(found) if site.weight is not None), None)
    if last is not None and chosen[last.node].is_static:
        chosen[last.node] = last.left("the last layer: its result is read in floating point")
    changed = True
    while changed:
        changed = False
        for site in found:
            if site.weight is None and chosen[site.node].is_static and not _is_between(site.node, chosen, support):
                chosen[site.node], changed = site.left("it does not lie between operators that compute with integers"), True
    return chosen


def _too_slow(site: Site, support: IntegerSupport) -> str:
    if site.operator != "conv2d" or site.weight is None:
        return ""
    made, channels, *kernel = site.weight.values.shape
    groups = int(argument(site.node, 6, "groups", 1))
    if groups == 1 and set(kernel) != {1} and made * channels < support.least_products:
        return f"{channels} channels to {made} are too few for the integer kernel to be faster"
    if groups > 1 and channels > 1 and not support.grouped:
        return "convolutions of several channels a group are slower with integers"
    return ""


def _is_between(node: Node, plan: Mapping[Node, Assignment], support: IntegerSupport) -> bool:
    """Whether the operator reads what an integer operator made, and makes what one reads."""

    def is_integer(other: Node) -> bool:
        return other in plan and plan[other].is_static

    def passes(other: Node) -> bool:
        name = operator_of(other)
        return (moves(other) and name in support.moves) or name in support.fused

    def before(other: Node) -> bool:
        return any(is_integer(source) or (passes(source) and before(source)) for source in other.all_input_nodes)

    def behind(other: Node) -> bool:
        return any(is_integer(user) or (passes(user) and behind(user)) for user in other.users)

    return before(node) and behind(node)
