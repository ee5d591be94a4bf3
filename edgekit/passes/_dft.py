"""The discrete Fourier transforms of ATen, read as what they compute:

    out[k] = n^-p  sum over j of  in[j] exp(sign 2 pi i j k / n)      along each axis, the input padded or trimmed to n

A real signal's spectrum is kept by half along one axis. A transform back from half a spectrum reads nothing but the real part
of that sum, each column standing for its mirror image too, except the first and (n even) the last: so those columns'
imaginary parts count for nothing there, whether or not the spectrum is one that a real signal has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from edgekit.passes._graph import argument, aten, value

# By name: the sign of the exponent, and which end is real: the input (halved spectrum out), the output (halved spectrum in).
_NAMED = {
    "fft": (-1, ""),
    "ifft": (1, ""),
    "rfft": (-1, "input"),
    "irfft": (1, "output"),
    "ihfft": (1, "input"),
    "hfft": (-1, "output"),
}
_CALLS = {
    getattr(aten, f"fft_{name}{suffix}").default: (suffix, *kind) for name, kind in _NAMED.items() for suffix in ("", "2", "n")
}
_DECOMPOSED = (aten._fft_r2c.default, aten._fft_c2c.default, aten._fft_c2r.default)
TARGETS = (*_CALLS, *_DECOMPOSED)

_Sizes = tuple[Any, ...]  # ints, or symbols where a shape is dynamic


@dataclass(frozen=True)
class Axis:
    """A transform along one axis of a tensor."""

    axis: int
    length: int
    """n: the signal's, not the half spectrum's."""
    inputs: int
    """The entries that are read; fewer than there are where the input is trimmed, fewer than n where it is padded."""
    outputs: int
    sign: int
    scale: float
    mirrored: bool
    """Whether the input is half a spectrum."""

    def matrix(self) -> Tensor:
        """[outputs, inputs], complex128; exact zeros where sine and cosine have them."""
        turns = torch.outer(torch.arange(self.outputs), torch.arange(self.inputs)).remainder(self.length).double()
        angles = 2 * math.pi / self.length * turns
        matrix = torch.complex(_zeros_exact(angles.cos()), self.sign * _zeros_exact(angles.sin())) * self.scale
        if self.mirrored:
            alone = [column for column in (0, self.length // 2) if 2 * column in (0, self.length) and column < self.inputs]
            weights = torch.full((self.inputs,), 2.0, dtype=torch.float64)
            weights[alone] = 1.0
            matrix = matrix * weights
        return matrix


def _zeros_exact(values: Tensor) -> Tensor:
    return torch.where(values.abs() < 1e-15, torch.zeros(()).double(), values)


@dataclass(frozen=True)
class Transform:
    """A transform along several axes, in the order in which each is the input of the next."""

    axes: tuple[Axis, ...]
    real_end: str
    """`input` or `output`; empty for a transform of complex numbers into such."""
    dtype: torch.dtype
    """Of the real and imaginary parts."""


def transform(node: Node) -> Transform | str:
    """What an FFT node computes, or why it cannot be told."""
    source = node.args[0]
    assert isinstance(source, Node)
    sizes = tuple(value(source).shape)
    axes, lengths, sign, real, power = _decomposed(node, sizes) if node.target in _DECOMPOSED else _named(node, sizes)
    if not all(isinstance(size, int) for size in (*lengths, *(sizes[axis] for axis in axes))):
        return "it transforms an axis whose size is dynamic"
    halved = axes[-1] if real else None
    parts = []
    for axis, length in zip(axes, lengths, strict=True):
        half = length // 2 + 1 if axis == halved else length
        mirrored = axis == halved and real == "output"
        taken, made = (half, length) if mirrored else (length, half)
        parts.append(Axis(axis, length, min(sizes[axis], taken), made, sign, length**-power, mirrored))
    # Half a spectrum is made first and used up last, so that the other axes see half as much.
    ordered = parts if real == "output" else parts[::-1]
    return Transform(tuple(ordered), real, value(node).real.dtype)


def _named(node: Node, sizes: _Sizes) -> tuple[list[int], list[Any], int, str, float]:
    """Axes, signal lengths, sign, real end and scaling power of an `aten.fft_*` call."""
    suffix, sign, real = _CALLS[node.target]
    given = argument(node, 1, "s" if suffix else "n")
    dims = argument(node, 2, "dim", {"": -1, "2": [-2, -1], "n": None}[suffix])
    given = [given] if given is not None and not isinstance(given, (list, tuple)) else given
    if dims is None:
        dims = range(-len(given), 0) if given else range(len(sizes))
    axes = [dim % len(sizes) for dim in ([dims] if isinstance(dims, int) else dims)]
    lengths = [sizes[axis] for axis in axes]
    if real == "output":
        lengths[-1] = 2 * (lengths[-1] - 1)
    if given:
        lengths = [known if asked == -1 else asked for known, asked in zip(lengths, given, strict=True)]
    norm = argument(node, 3, "norm") or "backward"
    scaled = {-1: "forward", 1: "backward"}[sign]
    return axes, lengths, sign, real, 0.5 if norm == "ortho" else float(norm == scaled)


def _decomposed(node: Node, sizes: _Sizes) -> tuple[list[int], list[Any], int, str, float]:
    """The same of what the named calls decompose into."""
    axes = [dim % len(sizes) for dim in argument(node, 1, "dim")]
    power = (0.0, 0.5, 1.0)[argument(node, 2, "normalization")]
    lengths = [sizes[axis] for axis in axes]
    if node.target is aten._fft_c2c.default:
        return axes, lengths, -1 if argument(node, 3, "forward") else 1, "", power
    if node.target is aten._fft_r2c.default:
        return axes, lengths, -1, "input" if argument(node, 3, "onesided") else "", power
    lengths[-1] = argument(node, 3, "last_dim_size")
    return axes, lengths, 1, "output", power
