"""`gather` at an `argmax` becomes a mask and a masked sum, where a runtime takes either operator off its accelerator
(`leaves_accelerator` names `aten.argmax` or `aten.gather`); elsewhere the two operators stay, for they move less memory.

The mask is arithmetic, for accelerators that compare nothing. A root of high degree lifts the smallest difference of numbers
within reach of 1, in half precision too, and leaves 0 where it is:

    apart = min(B (max x - x)^(1/16), 1)                  0 where x is the maximum, 1 elsewhere
    score = (C, C - 1, ..., 1) - C apart                  positive at maxima alone, and most at the first
    mask  = relu(score - max score + 1)                   1 there, 0 elsewhere

so that the first of several maxima is taken, as torch takes it; all of it is exact. Maxima and sums along the axis are taken by
halves. Several gathers at one argmax share its mask. Exact for finite scores (and -inf beside them) and finite gathered values:
a NaN among either spreads over its row, where `argmax` would have picked the NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, add_constant, argument, aten, calls, is_call, replace, shape, value, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_RESHAPES = (aten.unsqueeze.default, aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.squeeze.dim)
_COPIES = (aten.clone.default, aten.contiguous.default, aten.alias.default, aten.detach.default)
_EXPANDS = (aten.expand.default, aten.repeat.default, *_COPIES)

# How many whole numbers a precision holds in a row.
_NUMBERS = {torch.float16: 2**11, torch.bfloat16: 2**8, torch.float32: 2**24, torch.float64: 2**53}


@dataclass(frozen=True)
class Argmax:
    """The places of the maxima of `scores` along `axis`; -1 for the place among all of them."""

    node: Node
    scores: Node
    axis: int

    @property
    def count(self) -> int:
        return shape(self.scores)[self.axis]


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Rewrite every gather at an argmax, on profiles that name either operator."""
    changes = Changes()
    wanted = {"aten.argmax", "aten.gather"} & set(profile.leaves_accelerator)
    for graph_module in program:
        masks: dict[Node, Node] = {}
        for node in calls(graph_module, aten.gather.default):
            found = _argmax_behind(argument(node, 2, "index"))
            if found is None:
                continue
            reason = (
                _why_not(node, found, program.precision) if wanted else "the runtime keeps argmax and gather where it is fast"
            )
            if reason:
                changes.refusals.append(Refusal(where(node), reason))
                continue
            if found.node not in masks:
                masks[found.node] = _mask(graph_module, found, node)
            replace(node, _masked_sum(node, found, masks[found.node]))
            changes.changed += 1
    return changes


def _argmax_behind(index: object) -> Argmax | None:
    """The argmax whose result an index is, whatever its shape became."""
    while isinstance(index, Node) and is_call(index, *_RESHAPES, *_EXPANDS):
        index = index.args[0]
    if not isinstance(index, Node):
        return None
    if is_call(index, aten.argmax.default):
        found, dim = index, argument(index, 1, "dim")
    elif is_call(index, operator.getitem) and is_call(index.args[0], aten.max.dim) and index.args[1] == 1:
        [found] = index.all_input_nodes
        dim = argument(found, 1, "dim")
    else:
        return None
    scores = found.args[0]
    assert isinstance(scores, Node)
    rank = value(scores).dim()
    return Argmax(index, scores, -1 if dim is None or rank == 0 else dim % rank)


def _unexpanded(node: Node) -> Node:
    """The index of a gather before it was expanded."""
    index = argument(node, 2, "index")
    while is_call(index, *_EXPANDS):
        index = index.args[0]
    assert isinstance(index, Node)
    return index


def _why_not(node: Node, found: Argmax, precision: str) -> str:
    gathered, dim = node.args[0], int(argument(node, 1, "dim"))
    assert isinstance(gathered, Node)
    if not all(isinstance(size, int) for x in (gathered, found.scores) for size in value(x).shape):
        return "its shape is dynamic"
    if found.axis < 0 or not shape(gathered):
        return "argmax runs over all axes at once"
    if not (value(found.scores).is_floating_point() and value(gathered).is_floating_point()):
        return "it gathers or compares whole numbers"
    if shape(gathered)[dim] < found.count:
        return f"argmax counts to {found.count}, beyond the {shape(gathered)[dim]} entries it gathers from"
    dtype = torch.float16 if precision == "fp16" else value(found.scores).dtype
    if found.count > _NUMBERS[dtype]:
        return f"{found.count} channels cannot be numbered in {dtype}"
    return "" if _index_shape(node, found) else "its index is rearranged on the way from argmax"


def _index_shape(node: Node, found: Argmax) -> tuple[int, ...] | None:
    """The shape of the index before it was expanded, one along the gathered axis; None when it is more than the maxima's
    places with axes of one put in or left out."""
    index, given = _unexpanded(node), shape(argument(node, 2, "index"))
    dim = int(argument(node, 1, "dim")) % len(given)
    sizes = (1,) * (len(given) - len(shape(index))) + shape(index)
    others = [size for axis, size in enumerate(sizes) if axis != dim and size > 1]
    places = [size for axis, size in enumerate(shape(found.scores)) if axis != found.axis and size > 1]
    while index is not found.node:
        if not is_call(index, *_RESHAPES, *_COPIES):
            return None
        index = index.all_input_nodes[0]
    grown = all(size in (1, full) for size, full in zip(sizes, given, strict=True))
    return sizes if grown and sizes[dim] == 1 and others == places else None


def _mask(graph_module: GraphModule, found: Argmax, before: Node) -> Node:
    """One at the first maximum, zero elsewhere, in the shape of the scores."""
    count, dtype = found.count, value(found.scores).dtype
    along = [count if axis == found.axis else 1 for axis in range(value(found.scores).dim())]
    descending = add_constant(graph_module, before, "descending", torch.arange(count, 0, -1, dtype=dtype).reshape(along))
    steep = 2.0**70 if dtype == torch.float64 else 2.0**15

    def call(target: Callable[..., Any], *args: Any) -> Node:
        return add_call(before, target, *args)

    apart = call(aten.sub.Tensor, _reduced(before, aten.maximum.default, found.scores, found.axis), found.scores)
    for _ in range(4):
        apart = call(aten.sqrt.default, apart)
    apart = call(aten.clamp.default, call(aten.mul.Tensor, apart, steep), None, 1.0)
    score = call(aten.sub.Tensor, descending, call(aten.mul.Tensor, apart, float(count)))
    best = _reduced(before, aten.maximum.default, score, found.axis)
    return call(aten.relu.default, call(aten.sub.Tensor, score, call(aten.sub.Tensor, best, 1.0)))


def _masked_sum(node: Node, found: Argmax, mask: Node) -> Node:
    """What `node` gathers: the entries under the mask."""
    gathered, given = node.args[0], shape(argument(node, 2, "index"))
    assert isinstance(gathered, Node)
    dim = int(argument(node, 1, "dim")) % len(given)
    for axis, size in enumerate((*given[:dim], found.count, *given[dim + 1 :])):
        if shape(gathered)[axis] > size:
            gathered = add_call(node, aten.slice.Tensor, gathered, axis, 0, size)
    mask = _placed(node, found, mask, dim)
    if value(mask).dtype != value(gathered).dtype:
        mask = add_call(node, aten.to.dtype, mask, value(gathered).dtype)
    total = _reduced(node, aten.add.Tensor, add_call(node, aten.mul.Tensor, gathered, mask), dim)
    return total if shape(total) == given else add_call(node, aten.expand.default, total, list(given))


def _placed(node: Node, found: Argmax, mask: Node, dim: int) -> Node:
    """The mask with its channels along the gathered axis, and the other axes where the index has them."""
    sizes = _index_shape(node, found)
    assert sizes is not None
    ahead = sum(size > 1 for size in sizes[:dim])
    others = [axis for axis in range(value(mask).dim()) if axis != found.axis]
    position = 0
    while sum(shape(mask)[axis] > 1 for axis in others[:position]) < ahead:
        position += 1
    order = [*others[:position], found.axis, *others[position:]]
    long = [axis for axis in order if shape(mask)[axis] > 1]
    if long != sorted(long):
        mask = add_call(node, aten.permute.default, mask, order)
    target = [*sizes[:dim], found.count, *sizes[dim + 1 :]]
    return mask if list(shape(mask)) == target else add_call(node, aten.reshape.default, mask, target)


def _reduced(before: Node, combine: Callable[..., Any], whole: Node, axis: int) -> Node:
    """All slices along `axis` combined, its halves first, so that the operators stay few; the axis stays, of size one."""
    odd = []
    while (size := shape(whole)[axis]) > 1:
        half = size // 2
        parts = [add_call(before, aten.slice.Tensor, whole, axis, start, start + half) for start in (0, half)]
        if size % 2:
            odd.append(add_call(before, aten.slice.Tensor, whole, axis, size - 1, size))
        whole = add_call(before, combine, *parts)
    for part in odd:
        whole = add_call(before, combine, whole, part)
    return whole
