"""Fourier transforms become products with constant matrices, which every target has and matrix units are made for; the spectrum
is a pair of real tensors, made one complex tensor only for those that read it as one (`complex_to_real` takes that away).

1. Along the last axes, when its matrix is small enough for the profile (`dft_one_product_bytes`): one product, of the
   flattened axes with the Kronecker product of their matrices.
2. Otherwise one product an axis. Real and imaginary part lie one after the other along the axis that is transformed, so that a
   complex transform is one real product, and nothing is added up afterwards.
3. `fftshift` and `ifftshift` are rolls.

Products are linear layers, as runtimes pack the weights of those. Refused: a matrix beyond any phone (long audio, say), and
axes of dynamic size. Exact for finite input: what torch ignores is multiplied by zero.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._dft import TARGETS, Axis, Transform, transform
from edgekit.passes._graph import add_call, add_constant, argument, aten, calls, is_call, replace, value, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_LARGEST_MATRIX_BYTES = 16 << 20
_SHIFTS = (aten.fft_fftshift.default, aten.fft_ifftshift.default)

Parts = list[Node]
"""A real tensor, or a complex one as real and imaginary part."""


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Lower every Fourier transform over axes of known size."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, *TARGETS, *_SHIFTS):
            reason = _roll(node) if is_call(node, *_SHIFTS) else _lower(graph_module, node, profile.dft_one_product_bytes)
            changes.record(where(node), reason)
    return changes


def _lower(graph_module: GraphModule, node: Node, one_product_bytes: int) -> str:
    found = transform(node)
    if isinstance(found, str):
        return found
    source = node.args[0]
    assert isinstance(source, Node)
    limit = min(one_product_bytes, _LARGEST_MATRIX_BYTES)
    one = len(found.axes) > 1 and _are_last(found, source) and _matrix_bytes(found, found.axes) <= limit
    steps = [found.axes] if one else [(axis,) for axis in found.axes]
    largest = max(_matrix_bytes(found, step) for step in steps)
    if largest > _LARGEST_MATRIX_BYTES:
        return f"its matrix would take {largest:,} bytes, more than {_LARGEST_MATRIX_BYTES:,}"
    parts = _real_parts(node, source, found.dtype)
    for axis in found.axes:
        if axis.inputs < value(source).shape[axis.axis]:
            parts = [add_call(node, aten.slice.Tensor, part, axis.axis, 0, axis.inputs) for part in parts]
    to_real = found.real_end == "output"
    for step in steps:
        parts = _product(graph_module, node, parts, step, real_output=to_real and step is steps[-1])
    replace(node, parts[0] if to_real else add_call(node, aten.complex.default, *parts))
    return ""


def _roll(node: Node) -> str:
    source, dims = node.args[0], argument(node, 1, "dim")
    assert isinstance(source, Node)
    axes = list(range(value(source).dim())) if dims is None else [dims] if isinstance(dims, int) else list(dims)
    sizes = [value(source).shape[axis] for axis in axes]
    if not all(isinstance(size, int) for size in sizes):
        return "it rolls an axis whose size is dynamic"
    shifts = [size // 2 if is_call(node, aten.fft_fftshift.default) else (size + 1) // 2 for size in sizes]
    replace(node, add_call(node, aten.roll.default, source, shifts, axes))
    return ""


def _are_last(found: Transform, source: Node) -> bool:
    covered, rank = sorted(axis.axis for axis in found.axes), value(source).dim()
    return covered == list(range(rank - len(covered), rank))


def _matrix_bytes(found: Transform, step: tuple[Axis, ...]) -> int:
    """At most, over the steps: both parts on one side where an end of the transform is real, else on both."""
    parts = 2 if found.real_end else 4
    return parts * math.prod(axis.inputs * axis.outputs for axis in step) * found.dtype.itemsize


def _real_parts(node: Node, source: Node, dtype: torch.dtype) -> Parts:
    if value(source).is_complex():
        return [add_call(node, aten.real.default, source), add_call(node, aten.imag.default, source)]
    return [source if value(source).dtype == dtype else add_call(node, aten.to.dtype, source, dtype)]


def _product(graph_module: GraphModule, node: Node, parts: Parts, step: tuple[Axis, ...], *, real_output: bool) -> Parts:
    """The parts after a transform along the axes of `step`: one axis, or all of the last ones."""
    ordered = sorted(step, key=lambda axis: axis.axis)
    matrix = functools.reduce(torch.kron, [axis.matrix() for axis in ordered])
    dtype, first, rank = value(parts[0]).dtype, ordered[0].axis, value(parts[0]).dim()

    def linear(x: Node, weight: Tensor) -> Node:
        return add_call(node, aten.linear.default, x, add_constant(graph_module, node, node.name, weight.to(dtype)))

    def last(x: Node) -> Node:
        """With the transformed axis, or all of them flattened, at the end; and back again, for one axis."""
        if len(ordered) > 1:
            return add_call(node, aten.flatten.using_ints, x, first, -1)
        return x if first == rank - 1 else add_call(node, aten.transpose.int, x, first, rank - 1)

    def back(x: Node) -> Node:
        if len(ordered) > 1:
            return add_call(node, aten.unflatten.int, x, first, [axis.outputs for axis in ordered])
        return last(x)

    def halves(x: Node, axis: int) -> Parts:
        size = value(x).shape[axis] // 2
        return [add_call(node, aten.slice.Tensor, x, axis, start, start + size) for start in (0, size)]

    if real_output:
        weights = (matrix.real, -matrix.imag)
        terms = [linear(last(part), weight) for part, weight in zip(parts, weights, strict=False)]
        return [back(terms[0] if len(terms) == 1 else add_call(node, aten.add.Tensor, *terms))]
    if len(parts) == 1 and len(ordered) == 1:
        return [back(linear(last(parts[0]), weight)) for weight in (matrix.real, matrix.imag)]
    if len(parts) == 1:
        both = linear(last(parts[0]), torch.cat([matrix.real, matrix.imag]))
        return [back(half) for half in halves(both, first)]
    stacked = add_call(node, aten.cat.default, parts, first)
    block = torch.cat([torch.cat([matrix.real, -matrix.imag], 1), torch.cat([matrix.imag, matrix.real], 1)])
    both = linear(last(stacked), block)
    if len(ordered) == 1:
        return halves(back(both), first)
    return [back(half) for half in halves(both, first)]
