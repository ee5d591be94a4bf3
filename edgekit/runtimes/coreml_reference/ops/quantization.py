"""Quantization of activations."""

from __future__ import annotations

from torch import Tensor

_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


def quantize(
    input: Tensor,
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: int | None = None,
    *,
    rounded: bool = True,
) -> Tensor:
    """clip(round(input / scale) + zero point), halves to the even neighbour; the same without round, where it is to tell how
    right all else is."""
    levels = input / _along(scale, input, axis)
    if rounded:
        levels = levels.round()
    if zero_point is not None:
        levels = levels + _along(zero_point, input, axis).float()
    return levels.clamp(*_RANGES[output_dtype])


def dequantize(input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: int | None = None) -> Tensor:
    """scale * (input - zero point)."""
    shifted = input.float() if zero_point is None else input.float() - _along(zero_point, input, axis).float()
    return _along(scale, input, axis) * shifted


def _along(values: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """A vector along `axis` of `x`; a scalar as it is."""
    if values.ndim == 0 or axis is None:
        return values
    return values.reshape([-1 if a == axis % x.ndim else 1 for a in range(x.ndim)])
