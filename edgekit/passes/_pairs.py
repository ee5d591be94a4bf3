"""Complex values as pairs of real nodes, and the arithmetic on them, for `complex_to_real`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes._graph import aten, constant, value
from edgekit.passes._regions import Builder, Refused

Part = Node | float
"""The real or the imaginary part. A number stands for a tensor full of it: a real value's imaginary part is 0.0, and what is
multiplied by it costs nothing."""


@dataclass(frozen=True)
class Pair:
    """A complex value."""

    re: Part
    im: Part
    order: tuple[int, ...] = ()
    """When given, the value is the parts permuted by it: a permutation put off, as the one that undoes it is often near."""

    @property
    def parts(self) -> tuple[Part, Part]:
        return self.re, self.im

    def map(self, change: Callable[[Part], Part]) -> Pair:
        """The pair with each part changed."""
        return Pair(change(self.re), change(self.im), self.order)


def precision(node: Node) -> torch.dtype:
    """The dtype of the parts of what a node makes."""
    made: Any = node.meta["val"]
    first = made[0] if isinstance(made, (list, tuple)) else made
    dtype: torch.dtype = first.dtype
    return dtype.to_real() if dtype.is_complex else dtype


def before(order: tuple[int, ...], tensor: Tensor) -> Tensor:
    """What `tensor` was before it was permuted by `order`; itself for none."""
    return tensor.permute([order.index(axis) for axis in range(len(order))]) if order else tensor


class Rewriter(Builder):
    """Builds the real form of complex values."""

    def __init__(self, graph_module: GraphModule) -> None:
        super().__init__(graph_module)
        self.pairs: dict[Node, Pair] = {}
        """The pair of each complex node."""

    def pair(self, operand: Any, dtype: torch.dtype) -> Pair:
        """The pair of a complex node, a real node or a number, its parts in `dtype`."""
        return self.plain(self.permuted(operand, dtype))

    def permuted(self, operand: Any, dtype: torch.dtype) -> Pair:
        """The same, with its permutation still put off."""
        if isinstance(operand, (int, float, complex)):
            return Pair(float(complex(operand).real), float(complex(operand).imag))
        assert isinstance(operand, Node)
        tensor = constant(self.graph_module, operand)
        if operand not in self.pairs and tensor is not None and tensor.is_complex():
            tensor = tensor.resolve_conj()
            imag = self.constant(tensor.imag) if bool(tensor.imag.any()) else 0.0
            self.pairs[operand] = Pair(self.constant(tensor.real), imag)
        return self.pairs.get(operand, Pair(operand, 0.0)).map(lambda part: self.cast(part, dtype))

    def plain(self, pair: Pair) -> Pair:
        """The pair with its permutation carried out."""
        if not pair.order:
            return pair
        return self.each(Pair(pair.re, pair.im), aten.permute.default, list(pair.order))

    def aligned(self, pairs: Sequence[Pair]) -> tuple[list[Pair], tuple[int, ...]]:
        """The operands of an elementwise operator under one common permutation, still to be carried out. Constants are
        brought under it; other operands are not worth one."""
        orders = {pair.order for pair in pairs if pair.order}
        if len(orders) == 1:
            (order,) = orders
            stored = [pair if pair.order else self._constant_under(order, pair) for pair in pairs]
            found = [pair for pair in stored if pair]
            if len(found) == len(pairs):
                return found, order
        return [self.plain(pair) for pair in pairs], ()

    def _constant_under(self, order: tuple[int, ...], pair: Pair) -> Pair | None:
        def stored(part: Part) -> Part:
            tensor = constant(self.graph_module, part)
            if tensor is None:
                return part
            padded = tensor.reshape([1] * (len(order) - tensor.dim()) + list(tensor.shape))
            return self.constant(before(order, padded))

        nodes = [part for part in pair.parts if isinstance(part, Node)]
        fits = all(constant(self.graph_module, node) is not None and value(node).dim() <= len(order) for node in nodes)
        return pair.map(stored) if fits else None

    def cast(self, part: Part, dtype: torch.dtype) -> Part:
        if not isinstance(part, Node) or not isinstance(value(part), Tensor) or value(part).dtype == dtype:
            return part
        return self.call(aten.to.dtype, part, dtype)

    def tensor(self, part: Part, like: Tensor) -> Node:
        """The part as a node of the shape of `like`, and of its precision."""
        if isinstance(part, Node) and value(part).shape == like.shape:
            return part
        sizes = list(like.shape)
        if not all(isinstance(size, int) for size in sizes):
            raise Refused(self._at, "a part that takes its shape, which is dynamic, from elsewhere")
        if isinstance(part, Node):
            return self.call(aten.expand.default, part, sizes)
        return self.call(aten.full.default, sizes, part, dtype=like.real.dtype)

    def settled(self, node: Node, pair: Pair) -> Pair:
        """The pair that `node` makes: parts of its shape, but for a part that is zero."""
        like = value(node)
        if not isinstance(like, Tensor):
            return pair  # lists of parts
        stored = before(pair.order, like)
        return pair.map(lambda part: part if part == 0.0 else self.tensor(part, stored))

    def neg(self, a: Part) -> Part:
        return self.call(aten.neg.default, a) if isinstance(a, Node) else -a

    def add(self, a: Part, b: Part) -> Part:
        if not isinstance(a, Node):
            if not isinstance(b, Node):
                return a + b
            a, b = b, a
        return a if b == 0.0 else self.call(aten.add.Tensor, a, b)

    def sub(self, a: Part, b: Part) -> Part:
        if isinstance(a, Node) and isinstance(b, Node):
            return self.call(aten.sub.Tensor, a, b)
        return self.add(a, self.neg(b))

    def mul(self, a: Part, b: Part) -> Part:
        if not isinstance(a, Node):
            if not isinstance(b, Node):
                return a * b
            a, b = b, a
        if b == 0.0 or b == 1.0:
            return a if b else 0.0
        return self.call(aten.mul.Tensor, a, b)

    def multilinear(self, product: Callable[..., Part], operands: Sequence[Pair]) -> Pair:
        """A product, linear in each operand: the sum over all choices of one part of each, times i to the number of
        imaginary ones. (a + bi)(c + di) = (ac - bd) + (ad + bc)i."""
        sums: list[Part] = [0.0, 0.0]
        for choice in itertools.product((0, 1), repeat=len(operands)):
            parts = [operand.parts[which] for operand, which in zip(operands, choice, strict=True)]
            if not any(part == 0.0 for part in parts):
                power = sum(choice)
                combine = self.sub if power % 4 > 1 else self.add
                sums[power % 2] = combine(sums[power % 2], product(*parts))
        re, im = sums
        return Pair(re, im)

    def times(self, *operands: Pair) -> Pair:
        """The elementwise product."""
        stored, order = self.aligned(operands)
        return replace(self.multilinear(self.mul, stored), order=order)

    def plus(self, a: Pair, b: Pair) -> Pair:
        """The elementwise sum."""
        (a, b), order = self.aligned((a, b))
        return Pair(self.add(a.re, b.re), self.add(a.im, b.im), order)

    def minus(self, a: Pair, b: Pair) -> Pair:
        """The elementwise difference."""
        (a, b), order = self.aligned((a, b))
        return Pair(self.sub(a.re, b.re), self.sub(a.im, b.im), order)

    def each(self, pair: Pair, target: Callable[..., Any], *rest: Any, **kwargs: Any) -> Pair:
        """An operator that is linear, with zeros for zeros, on each part; the permutation stays put off."""
        return pair.map(lambda part: self.call(target, part, *rest, **kwargs) if isinstance(part, Node) else part)

    def absolute(self, pair: Pair) -> Part:
        """|z| as the larger part times sqrt(1 + (smaller / larger)^2): squares alone would leave half precision's range."""
        if any(part == 0.0 for part in pair.parts):
            part = pair.im if pair.re == 0.0 else pair.re
            return self.call(aten.abs.default, part) if isinstance(part, Node) else abs(part)
        large, small = self._sorted_magnitudes(pair)
        safe = self.call(aten.where.ScalarSelf, self.call(aten.eq.Scalar, large, 0.0), 1.0, large)
        ratio = self.call(aten.div.Tensor, small, safe)
        growth = self.call(aten.sqrt.default, self.add(self.mul(ratio, ratio), 1.0))
        return self.mul(large, growth)

    def angle(self, pair: Pair) -> Part:
        """atan2(im, re)"""
        nodes = [part for part in pair.parts if isinstance(part, Node)]
        if not nodes:
            return 0.0
        re, im = (self.tensor(part, value(nodes[0])) for part in pair.parts)
        return self.call(aten.atan2.default, im, re)

    def _sorted_magnitudes(self, pair: Pair) -> tuple[Node, Node]:
        first, second = (self.call(aten.abs.default, part) for part in pair.parts)
        return self.call(aten.maximum.default, first, second), self.call(aten.minimum.default, first, second)

    def over(self, a: Pair, b: Pair) -> Pair:
        """The elementwise quotient."""
        if b.im == 0.0:
            (a, b), order = self.aligned((a, b))
            return Pair(self._divided(a.re, b.re), self._divided(a.im, b.re), order)
        return self.times(a, self._inverse(b))

    def _divided(self, a: Part, b: Part) -> Part:
        if isinstance(a, Node):
            return self.call(aten.div.Tensor, a, b)
        return self.mul(a, self.call(aten.reciprocal.default, b)) if a and isinstance(b, Node) else 0.0

    def _inverse(self, pair: Pair) -> Pair:
        """1 / (c + di) = (c - di) / (c^2 + d^2), each part over the larger one first, for its square may leave the range."""
        if not isinstance(pair.re, Node) and not isinstance(pair.im, Node):
            number = 1 / complex(pair.re, pair.im)
            return Pair(number.real, number.imag)
        pair = self.plain(pair)
        re, im = pair.parts
        if re == 0.0:
            return Pair(0.0, self.neg(self.call(aten.reciprocal.default, im)))
        large, _ = self._sorted_magnitudes(pair)
        re, im = (self.call(aten.div.Tensor, part, large) for part in (re, im))
        squares = self.add(self.mul(re, re), self.mul(im, im))
        scale = self.mul(squares, large)
        return Pair(self.call(aten.div.Tensor, re, scale), self.neg(self.call(aten.div.Tensor, im, scale)))
