"""Weights of four bits: a scale for each group of input channels, the one that leaves the least squared error.

Where it is known how a layer's inputs vary together, they are rounded one input channel at a time, and those not yet rounded
make good what rounding one changes of the outputs (Frantar et al. 2022, "GPTQ", section 3; Hassibi and Stork 1993).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

FOUR_BITS = (-8, 7)
"""The least and the largest integer."""
_SHRINKS = torch.linspace(0.7, 1.0, 16)
"""Of a group's range, tried."""
_DAMPING = 0.01
"""Of the mean variance, added to each channel's: few samples do not tell how channels that hardly vary do so together."""


def of_four_bits(
    values: Tensor,
    axis: int,
    size: int,
    keep: Callable[[Tensor], Tensor],
    *,
    symmetric: bool,
    covariance: Tensor | None = None,
) -> dict[str, Tensor]:
    """Integers in the shape of `values`; scales, rounded by `keep`, and zero points, one along `axis` for each group of `size`.
    Zero points are zeros where `symmetric`. All but scales are int8. `covariance` is of the inputs, [channels, channels]."""
    moved = values.movedim(axis, -1)
    rows = moved.flatten(0, -2).clone()
    factor = None if covariance is None else _factor(covariance).to(rows.dtype)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, rows.shape[1], size):
        group, others = slice(start, start + size), slice(start + size, None)
        scales, zeros = _fitted(rows[:, group], 1, keep, symmetric=symmetric)
        if factor is not None:
            errors = _made_good(rows[:, group], scales, zeros, factor[group, group])
            rows[:, others] -= errors @ factor[group, others]
        found.append((_integers(rows[:, group], scales, zeros), scales, zeros))
    integers, scales, zeros = (
        torch.cat(parts, 1).reshape(*moved.shape[:-1], -1).movedim(-1, axis) for parts in zip(*found, strict=True)
    )
    return {"int4": integers.to(torch.int8), "scales": scales, "zeros": zeros.to(torch.int8)}


def _factor(covariance: Tensor) -> Tensor:
    """[channels, channels], upper triangular: a row tells by how much the channels behind one are to move for its error."""
    channels = covariance.diagonal()
    damped = covariance + torch.eye(len(channels), dtype=covariance.dtype) * max(_DAMPING * float(channels.mean()), 1e-12)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def _made_good(rows: Tensor, scales: Tensor, zeros: Tensor, factor: Tensor) -> Tensor:
    """Move the channels of a group, each for the errors of those before it. The error of each, over its own factor."""
    errors = torch.zeros_like(rows)
    for place in range(rows.shape[1]):
        column = rows[:, place : place + 1]
        rounded = (_integers(column, scales, zeros) - zeros) * scales
        errors[:, place : place + 1] = (column - rounded) / factor[place, place]
        rows[:, place + 1 :] -= errors[:, place : place + 1] * factor[place, place + 1 :]
    return errors


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
