"""What each operator does to tensors held in low rank: the table behind `limit_rank`.

A rule takes the builder and the node, and gives how its result is held; it raises Refused for arguments it does not cover.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch.fx import Node

from edgekit.passes._graph import COPIES, argument, aten, is_call, value
from edgekit.passes._ranks import Held, Ranks, Run, Size, permutation, runs, sizes_of

Rule = Callable[[Ranks, Node], Held]

_CASTS = (aten.to.dtype, aten.to.dtype_layout, aten.to.other, aten._to_copy.default, aten.type_as.default)
# Every element where it was, in other sizes.
_RESHAPES = (
    aten._unsafe_view.default,
    aten.flatten.using_ints,
    aten.ravel.default,
    aten.reshape.default,
    aten.reshape_as.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unflatten.int,
    aten.unsqueeze.default,
    aten.view.default,
    aten.view_as.default,
)
PERMUTATIONS = (
    aten.mT.default,
    aten.movedim.int,
    aten.movedim.intlist,
    aten.numpy_T.default,
    aten.permute.default,
    aten.swapaxes.default,
    aten.swapdims.default,
    aten.t.default,
    aten.transpose.int,
)
# Element by element, beside those that torch tags so.
_POINTWISE = (
    aten.divide.Tensor,
    aten.hardswish.default,
    aten.log_sigmoid.default,
    aten.masked_fill.Tensor,
    aten.multiply.Tensor,
    aten.subtract.Tensor,
    aten.where.ScalarOther,
    aten.where.ScalarSelf,
)
_EXPANDS = (aten.broadcast_to.default, aten.expand.default, aten.expand_as.default)
# Over any axes, in any order.
_REDUCTIONS = (
    aten.all.dim,
    aten.amax.default,
    aten.amin.default,
    aten.any.dim,
    aten.argmax.default,
    aten.argmin.default,
    aten.logsumexp.default,
    aten.mean.dim,
    aten.prod.dim_int,
    aten.std.correction,
    aten.std.dim,
    aten.sum.dim_IntList,
    aten.var.correction,
    aten.var.dim,
)
_TOTALS = (aten.all.default, aten.any.default, aten.max.default, aten.mean.default, aten.min.default, aten.sum.default)
# Along one axis, which keeps its place.
_ALONG = (
    aten.cumsum.default,
    aten.index_select.default,
    aten.log_softmax.int,
    aten.narrow.default,
    aten.slice.Tensor,
    aten.softmax.int,
)
SPLITS = (aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default, aten.unbind.int)


def first(ranks: Ranks, node: Node) -> Held:
    """How the first operand is held."""
    source = node.args[0]
    assert isinstance(source, Node)
    return ranks.get(source)


def arguments(node: Node) -> dict[str, Any]:
    """The given arguments behind the first, by name."""
    assert isinstance(node.target, torch._ops.OpOverload)
    names = [parameter.name for parameter in node.target._schema.arguments]
    return {**dict(zip(names[1:], node.args[1:], strict=False)), **node.kwargs}


def again(ranks: Ranks, node: Node, x: Node, **others: Any) -> Node:
    """The call at hand on `x`, with other arguments where given."""
    assert callable(node.target)
    return ranks.call(node.target, x, **{**arguments(node), **others})


def is_pointwise(node: Node) -> bool:
    """Whether a node computes element by element."""
    tagged = isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags
    return (tagged or is_call(node, *_POINTWISE)) and not is_call(node, *COPIES)


def pointwise(ranks: Ranks, node: Node) -> Held:
    """In the memory order of the full-sized operand of most axes; axes along which the same operands broadcast are one."""
    sizes = sizes_of(node)
    # A scalar tensor promotes dtypes as a number does: it stays one.
    operands = {x: ranks.padded(ranks.get(x), len(sizes)) for x in node.all_input_nodes if value(x).dim()}
    full = [held for held in operands.values() if held.sizes == sizes and held.node.op != "get_attr"]
    whole = max(full, key=lambda held: value(held.node).dim(), default=None)
    order = whole.order if whole else tuple(range(len(sizes)))
    long = [axis for axis in order if sizes[axis] != 1]
    groups = runs(long, *([size != 1 for size in held.sizes] for held in operands.values()))
    if len(groups) > ranks.limit:
        operands = {x: ranks.expanded(held, sizes) for x, held in operands.items()}
        groups = [long]
    elif whole and (kept := ranks.axes_of(whole)) and all(_alike(held, run) for held in operands.values() for run in kept):
        groups = kept  # the shape of the first operand will do
    parts = {x: ranks.arranged(held, order) for x, held in operands.items()}
    if whole and all(held.sizes == sizes for held in parts.values()):
        extents = [list(sizes_of(whole.node))] * len(parts)  # nothing broadcasts: the shape that the first has
    else:
        extents = [[math.prod(held.sizes[axis] for axis in run) for run in groups] or [1] for held in parts.values()]
    nodes = {x: ranks.reshaped(held.node, extent) for (x, held), extent in zip(parts.items(), extents, strict=True)}
    assert callable(node.target)
    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda x: nodes.get(x, x))
    return Held(ranks.call(node.target, *args, **kwargs), sizes, order)


def _alike(held: Held, run: Run) -> bool:
    """Whether all axes of a run are of one entry, or none."""
    return len({held.sizes[axis] != 1 for axis in run}) <= 1


def _copy(ranks: Ranks, node: Node) -> Held:
    return first(ranks, node)


def _cast(ranks: Ranks, node: Node) -> Held:
    held = first(ranks, node)
    return Held(ranks.call(aten.to.dtype, held.node, value(node).dtype), held.sizes, held.order)


def _reshape(ranks: Ranks, node: Node) -> Held:
    held, sizes = first(ranks, node), sizes_of(node)
    order = _order_after(held, sizes)
    if order is None:
        held = ranks.arranged(held, range(len(held.sizes)))
        order = tuple(range(len(sizes)))
    return Held(held.node, sizes, order)


def _order_after(held: Held, sizes: Sequence[Size]) -> tuple[int, ...] | None:
    """The order of the axes when the tensor is read in other sizes; None when its memory has to change for that."""
    old = [axis for axis, size in enumerate(held.sizes) if size != 1]
    new = [axis for axis, size in enumerate(sizes) if size != 1]
    followers: dict[int, list[int]] = {}
    while old and new:
        left, right = [old.pop(0)], [new.pop(0)]
        while (ratio := _ratio(held.sizes, left, sizes, right)) != 1:
            shorter, rest = (right, new) if ratio is not None and ratio > 1 else (left, old)
            if ratio is None or not rest:
                return None
            shorter.append(rest.pop(0))
        place = held.long.index(left[0])
        if held.long[place : place + len(left)] != left:
            return None
        followers[left[0]] = right
    ones = [axis for axis, size in enumerate(sizes) if size == 1]
    return (*ones, *(axis for one in held.long if one in followers for axis in followers[one]))


def _ratio(old: Sequence[Size], left: Sequence[int], new: Sequence[Size], right: Sequence[int]) -> Any:
    """How many entries the axes `left` have to one of `right`; None when dynamic sizes leave it open."""
    counts = math.prod(old[axis] for axis in left), math.prod(new[axis] for axis in right)
    if all(isinstance(count, int) for count in counts):
        return Fraction(*counts)
    ratio = counts[0] / counts[1]
    return ratio if ratio.is_number else None


def _permute(ranks: Ranks, node: Node) -> Held:
    held = first(ranks, node)
    moved = permutation(node.target, len(held.sizes), node.args[1:])
    return Held(held.node, tuple(held.sizes[axis] for axis in moved), tuple(moved.index(axis) for axis in held.order))


def _expand(ranks: Ranks, node: Node) -> Held:
    return ranks.expanded(first(ranks, node), sizes_of(node))


def _repeat(ranks: Ranks, node: Node) -> Held:
    """Each axis is repeated by expanding one of one before it."""
    held = ranks.padded(first(ranks, node), value(node).dim())
    for axis, count in enumerate(arguments(node)["repeats"]):
        if count != 1:
            place = held.order.index(axis)
            extents = [math.prod(held.sizes[a] for a in part) for part in (held.order[:place], held.order[place:])]
            apart = ranks.reshaped(held.node, [extents[0], 1, extents[1]])
            sizes = (*held.sizes[:axis], held.sizes[axis] * count, *held.sizes[axis + 1 :])
            held = Held(ranks.call(aten.expand.default, apart, [-1, count, -1]), sizes, held.order)
    return held


def _reduce(ranks: Ranks, node: Node) -> Held:
    held, given = first(ranks, node), arguments(node)
    rank, dims = len(held.sizes), given.get("dim")
    several = [dims] if isinstance(dims, int) else dims or range(rank)
    reduced = [axis in {dim % rank for dim in several} for axis in range(rank)]
    if dims is None:
        held = ranks.arranged(held, range(rank))  # argmax counts in this order
    elif len(runs(held.long, reduced)) > ranks.limit:
        held = ranks.arranged(held, sorted(range(rank), key=reduced.__getitem__))
    groups = runs(held.long, reduced)
    if not any(reduced[axis] for axis in held.long):
        groups.append([])  # only axes of one are reduced
    places = [place for place, group in enumerate(groups) if not group or reduced[group[0]]]
    single = isinstance(dims, int) or is_call(node, aten.argmax.default, aten.argmin.default)
    made = again(ranks, node, ranks.grouped(held, groups), dim=places[0] if single else places, keepdim=False)
    if given.get("keepdim", False):
        return Held(made, sizes_of(node), held.order)
    return Held(made, sizes_of(node), _without([axis for axis in range(rank) if reduced[axis]], held.order))


def _without(gone: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """The order of the axes that stay, numbered anew."""
    return tuple(axis - sum(other < axis for other in gone) for axis in order if axis not in gone)


def _total(ranks: Ranks, node: Node) -> Held:
    return Held(again(ranks, node, first(ranks, node).node), (), ())


def _along(ranks: Ranks, node: Node) -> Held:
    held = first(ranks, node)
    apart, place = ranks.around(held, _axis(held, node))
    return Held(again(ranks, node, apart, dim=place), sizes_of(node), held.order)


def _axis(held: Held, node: Node) -> int:
    axis: int = arguments(node).get("dim", 0) % len(held.sizes)
    return axis


def _select(ranks: Ranks, node: Node) -> Held:
    held = first(ranks, node)
    axis = _axis(held, node)
    apart, place = ranks.around(held, axis)
    return Held(again(ranks, node, apart, dim=place), sizes_of(node), _without([axis], held.order))


def split(ranks: Ranks, node: Node) -> None:
    """Put each part of a split in the place of what takes it from the list."""
    if any(not is_call(user, operator.getitem) for user in node.users):
        raise ranks.refuse("its parts are used as a list")
    held = first(ranks, node)
    axis = _axis(held, node)
    apart, place = ranks.around(held, axis)
    made = again(ranks, node, apart, dim=place)
    order = _without([axis], held.order) if is_call(node, aten.unbind.int) else held.order
    for user in node.users:
        ranks.put(user, Held(ranks.call(operator.getitem, made, user.args[1]), sizes_of(user), order))


def _flip(ranks: Ranks, node: Node) -> Held:
    held = first(ranks, node)
    for axis in arguments(node)["dims"]:
        apart, place = ranks.around(held, axis % len(held.sizes))
        held = Held(ranks.call(aten.flip.default, apart, [place]), held.sizes, held.order)
    return held


def _roll(ranks: Ranks, node: Node) -> Held:
    held, given = first(ranks, node), arguments(node)
    if not given.get("dims"):
        raise ranks.refuse("it rolls all axes as one")
    for shift, axis in zip(given["shifts"], given["dims"], strict=True):
        apart, place = ranks.around(held, axis % len(held.sizes))
        held = Held(ranks.call(aten.roll.default, apart, [shift], [place]), held.sizes, held.order)
    return held


def _pad(ranks: Ranks, node: Node) -> Held:
    held, given = first(ranks, node), arguments(node)
    if given.get("mode", "constant") != "constant":
        raise ranks.refuse("it pads by other values than one")
    margins, filling = given["pad"], given.get("value") or 0
    rank = len(held.sizes)
    for index, margin in enumerate(zip(margins[::2], margins[1::2], strict=True)):
        if any(margin):
            axis = rank - 1 - index
            apart, place = ranks.around(held, axis)
            behind = value(apart).dim() - 1 - place
            made = ranks.call(aten.constant_pad_nd.default, apart, [0, 0] * behind + list(margin), filling)
            sizes = (*held.sizes[:axis], held.sizes[axis] + sum(margin), *held.sizes[axis + 1 :])
            held = Held(made, sizes, held.order)
    return held


def _join(ranks: Ranks, node: Node) -> Held:
    """`cat`; and `stack`, where each part has an axis of one more."""
    parts = [ranks.get(part) for part in argument(node, 0, "tensors")]
    axis: int = arguments(node).get("dim", 0) % value(node).dim()
    if is_call(node, aten.stack.default):
        parts = [_unsqueezed(part, axis) for part in parts]
    parts = [ranks.arranged(part, parts[0].order) for part in parts]
    apart = [ranks.around(part, axis) for part in parts]
    place = apart[0][1]
    return Held(ranks.call(aten.cat.default, [found for found, _ in apart], place), sizes_of(node), parts[0].order)


def _unsqueezed(held: Held, axis: int) -> Held:
    """With an axis of one more, in memory before the axis that it moves up."""
    order = [other + (other >= axis) for other in held.order]
    order.insert(order.index(axis + 1) if axis + 1 in order else len(order), axis)
    return Held(held.node, (*held.sizes[:axis], 1, *held.sizes[axis:]), tuple(order))


def _unfold(ranks: Ranks, node: Node) -> Held:
    """Windows along an axis, as one strided slice for each of their entries, joined along a new axis that lies first."""
    held, given = first(ranks, node), arguments(node)
    axis, size, step = given["dimension"] % len(held.sizes), given["size"], given["step"]
    apart, place = ranks.around(held, axis)
    count = sizes_of(node)[axis]
    if not isinstance(count, int):
        raise ranks.refuse("it takes windows of an axis of dynamic size")
    entries = [ranks.call(aten.slice.Tensor, apart, place, k, k + (count - 1) * step + 1, step) for k in range(size)]
    last = len(held.sizes)
    return Held(ranks.call(aten.cat.default, entries, 0), sizes_of(node), (last, *held.order))


RULES: dict[Any, Rule] = {
    **dict.fromkeys(COPIES, _copy),
    **dict.fromkeys(_CASTS, _cast),
    **dict.fromkeys(_RESHAPES, _reshape),
    **dict.fromkeys(PERMUTATIONS, _permute),
    **dict.fromkeys(_EXPANDS, _expand),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(_TOTALS, _total),
    **dict.fromkeys(_ALONG, _along),
    **dict.fromkeys((aten.cat.default, aten.concat.default, aten.stack.default), _join),
    **dict.fromkeys((aten.pad.default, aten.constant_pad_nd.default), _pad),
    aten.flip.default: _flip,
    aten.repeat.default: _repeat,
    aten.roll.default: _roll,
    aten.select.int: _select,
    aten.unfold.default: _unfold,
}
