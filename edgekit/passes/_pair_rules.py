"""What each operator does to complex values, told of their pairs: the table behind `complex_to_real`.

A rule takes the rewriter and the complex node, and gives its pair; it raises Refused for arguments it does not cover.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from edgekit.passes._graph import COPIES, argument, aten, is_call, shape, value
from edgekit.passes._pair_ends import RESHAPES, view_as_complex
from edgekit.passes._pairs import Pair, Part, Rewriter, precision
from edgekit.passes._regions import Refused

Rule = Callable[[Rewriter, Node], Pair]

_KEPT = (*COPIES, aten.resolve_conj.default, aten.resolve_neg.default)
"""These change nothing but memory."""
# Linear, with zeros for zeros: they do to each part what they do to the whole.
_EACH_PART = (
    *RESHAPES,
    operator.getitem,
    aten.broadcast_to.default,
    aten.chunk.default,
    aten.cumsum.default,
    aten.diag_embed.default,
    aten.diagonal.default,
    aten.expand.default,
    aten.fft_fftshift.default,
    aten.fft_ifftshift.default,
    aten.flatten.using_ints,
    aten.flip.default,
    aten.gather.default,
    aten.index.Tensor,
    aten.index_select.default,
    aten.mean.default,
    aten.mean.dim,
    aten.movedim.int,
    aten.movedim.intlist,
    aten.narrow.default,
    aten.numpy_T.default,
    aten.mT.default,
    aten.ravel.default,
    aten.repeat.default,
    aten.repeat_interleave.self_int,
    aten.roll.default,
    aten.select.int,
    aten.slice.Tensor,
    aten.split.Tensor,
    aten.split_with_sizes.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.sum.default,
    aten.sum.dim_IntList,
    aten.swapaxes.default,
    aten.swapdims.default,
    aten.t.default,
    aten.tensor_split.sections,
    aten.tensor_split.indices,
    aten.tile.default,
    aten.transpose.int,
    aten.tril.default,
    aten.triu.default,
    aten.unbind.int,
    aten.unflatten.int,
    aten.unsqueeze.default,
)
# Of several tensors at once.
_OF_LISTS = (aten.cat.default, aten.stack.default, aten.concat.default, aten.hstack.default, aten.vstack.default)
# Linear in each of the first two operands.
_PRODUCTS = (
    aten.matmul.default,
    aten.mm.default,
    aten.bmm.default,
    aten.mv.default,
    aten.dot.default,
    aten.outer.default,
    aten.inner.default,
    aten.kron.default,
    aten.tensordot.default,
)
_PADS = (aten.pad.default, aten.constant_pad_nd.default)
_CONVS = {aten.conv1d.default: 1, aten.conv2d.default: 2, aten.conv3d.default: 3}
_CASTS = (aten.to.dtype, aten.to.dtype_layout, aten.to.device, aten.to.other, aten._to_copy.default, aten.type_as.default)


def _operand(rewriter: Rewriter, node: Node, index: int, name: str = "other") -> Pair:
    return rewriter.permuted(argument(node, index, name), precision(node))


def _itself(rewriter: Rewriter, node: Node) -> Pair:
    return _operand(rewriter, node, 0, "self")


def _each_part(rewriter: Rewriter, node: Node) -> Pair:
    pair = rewriter.pair(node.args[0], precision(node))
    assert callable(node.target)
    return rewriter.each(pair, node.target, *node.args[1:], **_real_dtypes(node))


def _real_dtypes(node: Node) -> dict[str, Any]:
    """The keyword arguments, with the precision of the parts for a complex dtype."""
    complex_dtypes = {key for key, given in node.kwargs.items() if isinstance(given, torch.dtype) and given.is_complex}
    return {key: precision(node) if key in complex_dtypes else given for key, given in node.kwargs.items()}


def _like_other(rewriter: Rewriter, node: Node) -> Pair:
    target = aten.expand.default if is_call(node, aten.expand_as.default) else aten.reshape.default
    return rewriter.each(rewriter.pair(node.args[0], precision(node)), target, list(shape(node)))


def _permute(rewriter: Rewriter, node: Node) -> Pair:
    pair = _itself(rewriter, node)
    if not pair.order:
        return _each_part(rewriter, node)
    order = tuple(pair.order[int(dim)] for dim in argument(node, 1, "dims"))
    return Pair(pair.re, pair.im, order if order != tuple(range(len(order))) else ())


def _neg(rewriter: Rewriter, node: Node) -> Pair:
    return _itself(rewriter, node).map(rewriter.neg)


def _conj(rewriter: Rewriter, node: Node) -> Pair:
    pair = _itself(rewriter, node)
    return Pair(pair.re, rewriter.neg(pair.im), pair.order)


def _adjoint(rewriter: Rewriter, node: Node) -> Pair:
    pair = rewriter.each(rewriter.pair(node.args[0], precision(node)), aten.transpose.int, -2, -1)
    return Pair(pair.re, rewriter.neg(pair.im))


def _times_number(rewriter: Rewriter, node: Node, pair: Pair, index: int, name: str) -> Pair:
    """The pair times a number in the node's arguments, which is 1 when left out."""
    return rewriter.times(pair, rewriter.pair(argument(node, index, name, 1), precision(node)))


def _add(rewriter: Rewriter, node: Node) -> Pair:
    other = _times_number(rewriter, node, _operand(rewriter, node, 1), 2, "alpha")
    return rewriter.plus(_itself(rewriter, node), other)


def _sub(rewriter: Rewriter, node: Node) -> Pair:
    other = _times_number(rewriter, node, _operand(rewriter, node, 1), 2, "alpha")
    return rewriter.minus(_itself(rewriter, node), other)


def _rsub(rewriter: Rewriter, node: Node) -> Pair:
    own = _times_number(rewriter, node, _itself(rewriter, node), 2, "alpha")
    return rewriter.minus(_operand(rewriter, node, 1), own)


def _mul(rewriter: Rewriter, node: Node) -> Pair:
    return rewriter.times(_itself(rewriter, node), _operand(rewriter, node, 1))


def _div(rewriter: Rewriter, node: Node) -> Pair:
    return rewriter.over(_itself(rewriter, node), _operand(rewriter, node, 1))


def _reciprocal(rewriter: Rewriter, node: Node) -> Pair:
    return rewriter.over(Pair(1.0, 0.0), _itself(rewriter, node))


def _square(rewriter: Rewriter, node: Node) -> Pair:
    exponent = argument(node, 1, "exponent", 2)
    if exponent != 2:
        raise Refused(node, f"a complex power of {exponent}")
    pair = _itself(rewriter, node)
    return rewriter.times(pair, pair)


def _exp(rewriter: Rewriter, node: Node) -> Pair:
    pair = rewriter.pair(node.args[0], precision(node))
    re, im = (rewriter.tensor(part, value(node)) for part in pair.parts)
    return _from_polar(rewriter, rewriter.call(aten.exp.default, re), im)


def _polar(rewriter: Rewriter, node: Node) -> Pair:
    magnitude, angle = node.args
    assert isinstance(magnitude, Node)
    assert isinstance(angle, Node)
    return _from_polar(rewriter, magnitude, angle)


def _from_polar(rewriter: Rewriter, magnitude: Node, angle: Node) -> Pair:
    cos, sin = rewriter.call(aten.cos.default, angle), rewriter.call(aten.sin.default, angle)
    return Pair(rewriter.mul(magnitude, cos), rewriter.mul(magnitude, sin))


def _complex(rewriter: Rewriter, node: Node) -> Pair:
    re, im = (argument(node, index, name) for index, name in enumerate(("real", "imag")))
    return Pair(re, im)


def _number(rewriter: Rewriter, node: Node) -> Pair:
    return Pair(1.0 if is_call(node, aten.ones_like.default) else 0.0, 0.0)


def _of_list(rewriter: Rewriter, node: Node) -> Pair:
    tensors, *rest = node.args
    assert isinstance(tensors, (list, tuple))
    pairs = [rewriter.pair(tensor, precision(node)) for tensor in tensors]

    def joined(parts: list[Part]) -> Part:
        if all(part == 0.0 for part in parts):
            return 0.0
        filled = [rewriter.tensor(p, value(t)) for p, t in zip(parts, tensors, strict=True) if isinstance(t, Node)]
        assert callable(node.target)
        return rewriter.call(node.target, filled, *rest, **node.kwargs)

    return Pair(joined([pair.re for pair in pairs]), joined([pair.im for pair in pairs]))


def _where(rewriter: Rewriter, node: Node) -> Pair:
    condition, *sides = node.args
    first, second = (rewriter.pair(side, precision(node)) for side in sides)

    def chosen(a: Part, b: Part) -> Part:
        if a == b == 0.0:
            return 0.0
        return rewriter.call(aten.where.self, condition, *(rewriter.tensor(part, value(node)) for part in (a, b)))

    return Pair(chosen(first.re, second.re), chosen(first.im, second.im))


def _filled(rewriter: Rewriter, node: Node) -> Pair:
    """Padded with a number, or where a mask is true."""
    pair, padded = rewriter.pair(node.args[0], precision(node)), is_call(node, aten.pad.default)
    number = complex(argument(node, 3 if padded else 2, "value") or 0.0)
    between = [
        argument(node, 1, "pad" if is_call(node, *_PADS) else "mask"),
        *([argument(node, 2, "mode", "constant")] if padded else []),
    ]

    def filled(part: Part, fill: float) -> Part:
        if part == fill == 0.0:
            return 0.0
        source = node.args[0]
        assert isinstance(source, Node)
        assert callable(node.target)
        # Padding by reflection and its like takes no number.
        numbers = [fill] if not padded or fill else []
        return rewriter.call(node.target, rewriter.tensor(part, value(source)), *between, *numbers)

    return Pair(filled(pair.re, number.real), filled(pair.im, number.imag))


def _product(rewriter: Rewriter, node: Node) -> Pair:
    target, (left, right, *rest) = node.target, node.args
    assert callable(target)
    pairs = [rewriter.pair(operand, precision(node)) for operand in (left, right)]
    return rewriter.multilinear(lambda *parts: rewriter.call(target, *parts, *rest), pairs)


def _vdot(rewriter: Rewriter, node: Node) -> Pair:
    left, right = (rewriter.pair(operand, precision(node)) for operand in node.args)
    conjugate = Pair(left.re, rewriter.neg(left.im))
    return rewriter.multilinear(lambda a, b: rewriter.call(aten.dot.default, a, b), [conjugate, right])


def _einsum(rewriter: Rewriter, node: Node) -> Pair:
    equation, operands = node.args[:2]
    assert isinstance(operands, (list, tuple))
    pairs = [rewriter.pair(operand, precision(node)) for operand in operands]
    return rewriter.multilinear(lambda *parts: rewriter.call(aten.einsum.default, equation, list(parts)), pairs)


def _plus_product(rewriter: Rewriter, node: Node) -> Pair:
    """beta self + alpha a b"""
    own, *factors = (rewriter.pair(operand, precision(node)) for operand in node.args[:3])
    times = aten.bmm.default if is_call(node, aten.baddbmm.default) else aten.mm.default
    product = rewriter.multilinear(lambda a, b: rewriter.call(times, a, b), factors)
    beta, alpha = (rewriter.pair(node.kwargs.get(name, 1), precision(node)) for name in ("beta", "alpha"))
    return rewriter.plus(rewriter.times(own, beta), rewriter.times(product, alpha))


def _layer(rewriter: Rewriter, node: Node) -> Pair:
    """A linear or convolution; the bias comes last, in the shape of the channels' axis."""
    source, weight = (rewriter.pair(operand, precision(node)) for operand in node.args[:2])
    rest, bias = node.args[3:], argument(node, 2, "bias")
    kwargs = {key: given for key, given in node.kwargs.items() if key != "bias"}

    def apply(x: Part, w: Part) -> Part:
        assert callable(node.target)
        return rewriter.call(node.target, x, w, None, *rest, **kwargs)

    product = rewriter.multilinear(apply, [source, weight])
    if bias is None:
        return product
    kernel = next((rank for conv, rank in _CONVS.items() if is_call(node, conv)), 0)
    added = rewriter.each(rewriter.pair(bias, precision(node)), aten.reshape.default, [-1] + [1] * kernel)
    return rewriter.plus(product, added)


RULES: dict[Any, Rule] = {
    **dict.fromkeys(_EACH_PART, _each_part),
    **dict.fromkeys(_KEPT, _itself),
    **dict.fromkeys(_CASTS, _itself),
    **dict.fromkeys(_OF_LISTS, _of_list),
    **dict.fromkeys(_PRODUCTS, _product),
    **dict.fromkeys((*_CONVS, aten.linear.default), _layer),
    **dict.fromkeys((*_PADS, aten.masked_fill.Scalar), _filled),
    **dict.fromkeys((aten.expand_as.default, aten.view_as.default, aten.reshape_as.default), _like_other),
    **dict.fromkeys((aten.zeros_like.default, aten.ones_like.default), _number),
    **dict.fromkeys((aten._conj.default, aten.conj.default, aten.conj_physical.default, aten._conj_physical.default), _conj),
    **dict.fromkeys((aten.adjoint.default, aten.mH.default, aten.matrix_H.default), _adjoint),
    **dict.fromkeys((aten.neg.default, aten.negative.default, aten._neg_view.default), _neg),
    **dict.fromkeys((aten.add.Tensor, aten.add.Scalar), _add),
    **dict.fromkeys((aten.sub.Tensor, aten.sub.Scalar), _sub),
    **dict.fromkeys((aten.rsub.Tensor, aten.rsub.Scalar), _rsub),
    **dict.fromkeys((aten.mul.Tensor, aten.mul.Scalar, aten.multiply.Tensor), _mul),
    **dict.fromkeys((aten.div.Tensor, aten.div.Scalar, aten.true_divide.Tensor, aten.divide.Tensor), _div),
    **dict.fromkeys((aten.square.default, aten.pow.Tensor_Scalar), _square),
    **dict.fromkeys((aten.where.self, aten.where.Scalar, aten.where.ScalarSelf, aten.where.ScalarOther), _where),
    **dict.fromkeys((aten.addmm.default, aten.baddbmm.default), _plus_product),
    aten.complex.default: _complex,
    aten.einsum.default: _einsum,
    aten.exp.default: _exp,
    aten.permute.default: _permute,
    aten.polar.default: _polar,
    aten.reciprocal.default: _reciprocal,
    aten.vdot.default: _vdot,
    aten.view_as_complex.default: view_as_complex,
}
# To real numbers, from the parts in the precision of the result.
TO_REAL: dict[Any, Callable[[Rewriter, Pair], Part]] = {
    **dict.fromkeys(_CASTS, lambda rewriter, pair: pair.re),
    aten.abs.default: Rewriter.absolute,
    aten.angle.default: Rewriter.angle,
    aten.imag.default: lambda rewriter, pair: pair.im,
    aten.real.default: lambda rewriter, pair: pair.re,
}
