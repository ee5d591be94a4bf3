"""Where pairs come from and go to: `view_as_complex` reads the last axis of a real tensor as (real, imaginary), `view_as_real`
makes such an axis. Complex numbers made of channels reach the last axis by a permutation, and leave it by the one that undoes
it; here the channels are taken apart, and put together again, where they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.fx import Node

from edgekit.passes._graph import COPIES, argument, aten, constant, is_call, shape, value
from edgekit.passes._pairs import Pair, Rewriter, before, precision

RESHAPES = (aten.view.default, aten.reshape.default, aten._unsafe_view.default)
_ELEMENTWISE = (
    aten.elu.default,
    aten.gelu.default,
    aten.hardshrink.default,
    aten.hardtanh.default,
    aten.leaky_relu.default,
    aten.neg.default,
    aten.relu.default,
    aten.sigmoid.default,
    aten.silu.default,
    aten.softshrink.default,
    aten.tanh.default,
)


def view_as_complex(rewriter: Rewriter, node: Node) -> Pair:
    """The pair of what `view_as_complex` makes."""
    source = node.args[0]
    assert isinstance(source, Node)
    return _traced(rewriter, source) or Pair(_entry(rewriter, source, -1, 0), _entry(rewriter, source, -1, 1))


def _entry(rewriter: Rewriter, node: Node, axis: int, index: int) -> Node:
    """`select`, as a slice and a reshape: more runtimes keep those on their accelerator."""
    axis %= value(node).dim()
    if axis == 0:
        return rewriter.call(aten.select.int, node, axis, index)
    part = rewriter.call(aten.slice.Tensor, node, axis, index, index + 1)
    return rewriter.call(aten.flatten.using_ints, part, axis - 1, axis)


def _traced(rewriter: Rewriter, node: object) -> Pair | None:
    """The two entries along the last axis, found where they were before they came to lie side by side; None where that is
    nowhere."""
    if not isinstance(node, Node):
        return None
    tensor = constant(rewriter.graph_module, node)
    if tensor is not None:
        return Pair(rewriter.constant(tensor[..., 0]), rewriter.constant(tensor[..., 1]))
    if is_call(node, *COPIES):
        return _traced(rewriter, node.args[0])
    if is_call(node, aten.stack.default) and argument(node, 1, "dim", 0) in (-1, value(node).dim() - 1):
        re, im = argument(node, 0, "tensors")
        return Pair(re, im)
    if is_call(node, *_ELEMENTWISE) and len(_readers(node)) == 1:
        found = _traced(rewriter, node.args[0])
        assert callable(node.target)
        return found and rewriter.each(found, node.target, *node.args[1:], **node.kwargs)
    if is_call(node, *RESHAPES, aten.unflatten.int):
        return _even_and_odd(rewriter, node)
    return None


def _even_and_odd(rewriter: Rewriter, node: Node) -> Pair | None:
    """The pairs [..., n, 2] of 2n entries that a permutation brought to the last axis."""
    source = node.args[0]
    while isinstance(source, Node) and is_call(source, *COPIES):
        source = source.args[0]
    assert isinstance(source, Node)
    if not is_call(source, aten.permute.default) or shape(node)[:-2] != shape(source)[:-1]:
        return None
    order = _dims(source)
    axis = order[-1]
    pairs = rewriter.call(aten.unflatten.int, source.args[0], axis, [shape(node)[-2], 2])
    return Pair(_entry(rewriter, pairs, axis + 1, 0), _entry(rewriter, pairs, axis + 1, 1), order)


def view_as_real(rewriter: Rewriter, node: Node) -> None:
    """Put the parts side by side: along the last axis, or where a permutation after it brings them."""
    pair = rewriter.permuted(node.args[0], precision(node))
    merges = _readers(node)
    if not pair.order or not all(_merges_last_two(user) for user in merges):
        re, im = (rewriter.tensor(part, value(node)[..., 0]) for part in rewriter.plain(pair).parts)
        rewriter.instead[node] = rewriter.call(aten.stack.default, [re, im], -1)
        return
    axis = pair.order[-1]
    stored = before(pair.order, value(node)[..., 0])
    both = rewriter.call(aten.stack.default, [rewriter.tensor(part, stored) for part in pair.parts], axis + 1)
    flat = rewriter.call(aten.flatten.using_ints, both, axis, axis + 1)
    for merge in merges:
        rewriter.instead[merge] = rewriter.call(aten.permute.default, flat, list(pair.order))
        for permutation in _permutations(merge):
            order = [pair.order[dim] for dim in _dims(permutation)]
            undone = order == sorted(order)
            rewriter.instead[permutation] = flat if undone else rewriter.call(aten.permute.default, flat, order)


def _merges_last_two(node: Node) -> bool:
    source = node.args[0]
    if not is_call(node, *RESHAPES, aten.flatten.using_ints) or not isinstance(source, Node):
        return False
    *outer, count, two = shape(source)
    return shape(node) == (*outer, count * two)


def _permutations(node: Node) -> Iterator[Node]:
    """The permutations of a node's values, copied or not."""
    for user in node.users:
        if is_call(user, *COPIES):
            yield from _permutations(user)
        elif is_call(user, aten.permute.default):
            yield user


def _dims(permutation: Node) -> tuple[int, ...]:
    return tuple(int(dim) % value(permutation).dim() for dim in argument(permutation, 1, "dims"))


def _readers(node: Node) -> list[Node]:
    """What uses a node, but for checks of its dtype."""
    return [user for user in node.users if not is_call(user, aten._assert_tensor_metadata.default)]
