"""Tensors of high rank held as tensors of low rank, for `limit_rank`.

Axes that stay side by side are one axis to most operators, and a permutation only says in which order the axes lie in memory:
so a tensor is held as a node of any low rank together with its sizes and the order of its axes in that node.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.passes._graph import aten, constant, is_call, value
from edgekit.passes._regions import Builder, Refused

Size = Any
"""An int, or the sympy expression of a dynamic size."""
Run = list[int]
"""Axes that lie side by side in memory, which count as one axis."""
Places = tuple[int, ...]
"""Where axes are to come to stand."""


@dataclass(frozen=True)
class Held:
    """A tensor of `sizes`, whose axes lie in memory in `order`, slowest first: `node`, flattened, is the tensor permuted by
    `order` and flattened. An axis of one may stand anywhere in it."""

    node: Node
    sizes: tuple[Size, ...]
    order: tuple[int, ...]

    @property
    def long(self) -> list[int]:
        """The axes of more than one entry, in order."""
        return [axis for axis in self.order if self.sizes[axis] != 1]


def sizes_of(node: Node) -> tuple[Size, ...]:
    """The sizes of what a node makes."""
    return tuple(size if isinstance(size, int) else size.node.expr for size in value(node).shape)


def runs(axes: Iterable[int], *kinds: Sequence[Any]) -> list[Run]:
    """`axes`, in order, those side by side in one run that are alike: equal in each of `kinds`."""
    grouped = itertools.groupby(axes, key=lambda axis: [kind[axis] for kind in kinds])
    return [list(run) for _, run in grouped]


class Ranks(Builder):
    """Builds the low-rank form of tensors of high rank."""

    def __init__(self, graph_module: GraphModule, limit: int) -> None:
        super().__init__(graph_module)
        self.limit = limit
        self._held: dict[Node, Held] = {}

    def begin(self, node: Node) -> None:
        super().begin(node)
        self._node = node

    def refuse(self, reason: str) -> Refused:
        """The error to raise when the node at hand has no low-rank form."""
        return Refused(self._node, reason)

    def get(self, node: Node) -> Held:
        """How `node` is held: as it is, when it was not rewritten."""
        sizes = sizes_of(node)
        return self._held.get(node) or Held(node, sizes, tuple(range(len(sizes))))

    def knows(self, node: Node) -> bool:
        """Whether the node's place is taken already."""
        return node in self._held or node in self.instead

    def put(self, node: Node, held: Held) -> None:
        """Let `held` take the place of `node`: in memory alone when its rank is too high, else as a node."""
        if len(held.sizes) > self.limit:
            self._held[node] = held
        else:
            self.instead[node] = self.plain(held)

    def plain(self, held: Held) -> Node:
        """The tensor as a node of its own sizes."""
        return self.reshaped(self.arranged(held, range(len(held.sizes))).node, held.sizes)

    def reshaped(self, node: Node, sizes: Sequence[Size]) -> Node:
        """`node` in other sizes; of constants, another constant."""
        if tuple(sizes) == sizes_of(node):
            return node
        dynamic = [size for size in sizes if not isinstance(size, int)]
        if len(dynamic) > 1:
            raise self.refuse("two of its axes are of dynamic size")
        given = [size if isinstance(size, int) else -1 for size in sizes]
        tensor = constant(self.graph_module, node)
        if tensor is not None:
            return self.constant(tensor.reshape(given))
        if is_call(node, aten.reshape.default) and node in self._created:
            source = node.args[0]
            assert isinstance(source, Node)
            return self.reshaped(source, sizes)
        return self.call(aten.reshape.default, node, given)

    def grouped(self, held: Held, groups: Sequence[Run]) -> Node:
        """The tensor with one axis for each of `groups`, which are runs of its axes in their order (none may be missing but
        those of one); an empty run becomes an axis of one."""
        if len(groups) > self.limit:
            raise self.refuse(f"it takes {len(groups)} axes at once, above {self.limit}")
        return self.reshaped(held.node, [math.prod(held.sizes[axis] for axis in group) for group in groups])

    def axes_of(self, held: Held) -> list[Run] | None:
        """The axes of the tensor that each axis of its node stands for; None where they are cut otherwise."""
        left, found = held.long, []
        for size in sizes_of(held.node):
            run: Run = []
            while math.prod(held.sizes[axis] for axis in run) != size:
                if not left:
                    return None
                run.append(left.pop(0))
            found.append(run)
        return None if left else found

    def around(self, held: Held, axis: int) -> tuple[Node, int]:
        """The tensor with `axis` on its own: what lies before it, itself, what lies after it; and where it stands."""
        place = held.order.index(axis)
        groups = [list(held.order[:place]), [axis], list(held.order[place + 1 :])]
        kept = [group for group in groups if group == [axis] or any(held.sizes[other] != 1 for other in group)]
        return self.grouped(held, kept), kept.index([axis])

    def arranged(self, held: Held, order: Sequence[int]) -> Held:
        """The tensor with its axes in another order, by as few permutations of low rank as are found."""
        target = [axis for axis in order if held.sizes[axis] != 1]
        current = held.long
        if current == target:
            return Held(held.node, held.sizes, tuple(order))
        tensor = constant(self.graph_module, held.node)
        if tensor is not None:
            in_order = tensor.reshape([held.sizes[axis] for axis in held.order])
            moved = in_order.permute([held.order.index(axis) for axis in order])
            return Held(self.constant(moved.flatten()), held.sizes, tuple(order))
        node = held.node
        places = [target.index(axis) for axis in current]
        while places != sorted(places):
            segments, moves = _step(tuple(places), self.limit)
            if not segments:
                raise self.refuse(f"its permutation has no form of rank {self.limit}")
            extents = [math.prod(held.sizes[target[place]] for place in segment) for segment in segments]
            node = self.call(aten.permute.default, self.reshaped(node, extents), list(moves))
            places = [place for move in moves for place in segments[move]]
        return Held(node, held.sizes, tuple(order))

    def expanded(self, held: Held, sizes: Sequence[Size]) -> Held:
        """The tensor broadcast to `sizes`, which may have more axes in front."""
        held = self.padded(held, len(sizes))
        grows = [have == 1 != want for have, want in zip(held.sizes, sizes, strict=True)]
        if not any(grows):
            return held
        axes = [axis for axis in held.order if sizes[axis] != 1]
        if len(runs(axes, grows)) <= self.limit:
            steps = [grows]
        else:
            steps = [[axis == other for other in range(len(sizes))] for axis, grown in enumerate(grows) if grown]
        for step in steps:
            groups = runs((axis for axis in held.order if step[axis] or held.sizes[axis] != 1), step)
            now = tuple(want if grown else have for have, want, grown in zip(held.sizes, sizes, step, strict=True))
            wanted = [math.prod(now[axis] for axis in group) for group in groups]
            if not all(isinstance(size, int) for size, group in zip(wanted, groups, strict=True) if step[group[0]]):
                raise self.refuse("it expands to a dynamic size")
            given = [size if isinstance(size, int) else -1 for size in wanted]
            held = Held(self.call(aten.expand.default, self.grouped(held, groups), given), now, held.order)
        return held

    def padded(self, held: Held, rank: int) -> Held:
        """The tensor with axes of one in front, up to `rank`."""
        missing = rank - len(held.sizes)
        order = (*range(missing), *(axis + missing for axis in held.order))
        return Held(held.node, (1,) * missing + held.sizes, order)


@functools.cache
def _step(places: tuple[int, ...], limit: int) -> tuple[list[Places], Places]:
    """One permutation of at most `limit` axes towards the sorted order of `places`: the segments taken as one axis each, and
    their new order; after it most neighbours are in place. Nothing when no such permutation brings two together."""
    blocks: list[Places] = []
    for place in places:
        if blocks and place == blocks[-1][-1] + 1:
            blocks[-1] += (place,)
        else:
            blocks.append((place,))
    best = 0
    found: tuple[list[Places], Places] = ([], ())
    count = min(len(blocks), limit, _SEARCHED_RANK)
    for cuts in itertools.combinations(range(1, len(blocks)), count - 1):
        borders = itertools.pairwise((0, *cuts, len(blocks)))
        segments = [tuple(itertools.chain.from_iterable(blocks[start:end])) for start, end in borders]
        for moves in itertools.permutations(range(count)):
            joined = sum(segments[b][0] == segments[a][-1] + 1 for a, b in itertools.pairwise(moves))
            if joined > best:
                best, found = joined, (segments, moves)
    return found


_SEARCHED_RANK = 5
"""Permutations of more axes at once are not tried: there are too many, and no runtime is known to be fast at them."""


def permutation(target: Any, rank: int, arguments: Sequence[Any]) -> tuple[int, ...]:
    """Which axis of its input a permuting operator puts in each place."""
    moved = target(torch.empty(*range(2, 2 + rank), device="meta"), *arguments)
    return tuple(size - 2 for size in moved.shape)
