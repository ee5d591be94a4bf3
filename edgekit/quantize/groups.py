"""Weights of four bits: a scale for each group of input channels, the one that leaves the least squared error."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

FOUR_BITS = (-8, 7)
"""The least and the largest integer."""
_SHRINKS = torch.linspace(0.7, 1.0, 16)
"""Of a group's range, tried."""


def of_four_bits(
    values: Tensor, axis: int, size: int, keep: Callable[[Tensor], Tensor], *, symmetric: bool
) -> dict[str, Tensor]:
    """Integers in the shape of `values`; scales, rounded by `keep`, and zero points, one along `axis` for each group of `size`.
    Zero points are zeros where `symmetric`. All but scales are int8."""
    groups: Tensor = torch.unflatten(values, axis, (-1, size))
    scales, zeros = _fitted(groups, axis + 1, keep, symmetric=symmetric)
    integers = _integers(groups, scales, zeros).flatten(axis, axis + 1)
    return {
        "int4": integers.to(torch.int8),
        "scales": scales.squeeze(axis + 1),
        "zeros": zeros.squeeze(axis + 1).to(torch.int8),
    }


def _fitted(groups: Tensor, axis: int, keep: Callable[[Tensor], Tensor], *, symmetric: bool) -> tuple[Tensor, Tensor]:
    """The scale and the zero point of each group along `axis`, which stays with one element."""
    low, high = groups.amin(axis, keepdim=True).clamp(max=0), groups.amax(axis, keepdim=True).clamp(min=0)
    if symmetric:
        high = torch.maximum(-low, high)
        low = -high
    least, largest = FOUR_BITS
    best = torch.full_like(low, torch.inf)
    scales, zeros = torch.ones_like(low), torch.zeros_like(low)
    for part in _SHRINKS:
        tried = keep(part * (high / largest if symmetric else (high - low) / (largest - least)))
        zero = torch.zeros_like(tried) if symmetric else (least - part * low / tried).round().clamp(least, largest)
        error = ((_integers(groups, tried, zero) - zero) * tried - groups).square().sum(axis, keepdim=True)
        better = error < best
        best, scales, zeros = (torch.where(better, new, old) for new, old in ((error, best), (tried, scales), (zero, zeros)))
    return scales, zeros


def _integers(groups: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    return ((groups / scales).round() + zeros).clamp(*FOUR_BITS)
