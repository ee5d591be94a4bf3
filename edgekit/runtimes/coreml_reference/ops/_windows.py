"""Padding of the operators that slide a window, for every `pad_type`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

Pads = list[tuple[int, int]]


def pads(
    pad_type: str, pad: list[int] | None, sizes: list[int], windows: list[int], strides: list[int], dilations: list[int]
) -> Pads:
    """(before, after) for each spatial axis.

    `same` keeps ceil(size / stride) positions and puts an odd one after, `same_lower` before.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        given = pad or [0] * 2 * len(sizes)
        return list(zip(given[::2], given[1::2], strict=True))
    found = []
    for size, window, stride, dilation in zip(sizes, windows, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size)
        less, more = total // 2, total - total // 2
        found.append((less, more) if pad_type == "same" else (more, less))
    return found


def padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """`x` with its last axes padded by `value`."""
    if not any(map(any, pads)):
        return x
    return F.pad(x, [amount for pair in reversed(pads) for amount in pair], value=value)
