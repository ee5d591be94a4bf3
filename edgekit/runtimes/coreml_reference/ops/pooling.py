"""Pooling over one to three spatial axes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.runtimes.coreml_reference.ops import _windows

_MAX = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}
_MEAN = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}


def max_pool(
    x: Tensor,
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    pads, beyond = _extents(x, kernel_sizes, pad_type, strides, pad, ceil_mode)
    padded = _windows.padded(_windows.padded(x, pads, -math.inf), beyond, -math.inf)
    return _MAX[x.ndim](padded, kernel_sizes, strides or 1)


def avg_pool(
    x: Tensor,
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """What a window of `ceil_mode` reaches beyond the padding never counts."""
    pads, beyond = _extents(x, kernel_sizes, pad_type, strides, pad, ceil_mode)
    sums = _sums(_windows.padded(_windows.padded(x, pads), beyond), kernel_sizes, strides)
    ones = torch.ones(1, 1, *x.shape[2:])
    counted = _windows.padded(ones, pads, 0.0 if exclude_padding_from_average else 1.0)
    return sums / _sums(_windows.padded(counted, beyond), kernel_sizes, strides)


def l2_pool(
    x: Tensor,
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The square root of each window's sum of squares."""
    pads, beyond = _extents(x, kernel_sizes, pad_type, strides, pad, ceil_mode)
    return _sums(_windows.padded(_windows.padded(x * x, pads), beyond), kernel_sizes, strides).sqrt()


def _sums(x: Tensor, kernel_sizes: list[int], strides: list[int] | None) -> Tensor:
    return _MEAN[x.ndim](x, kernel_sizes, strides or 1) * math.prod(kernel_sizes)


def _extents(
    x: Tensor, kernel_sizes: list[int], pad_type: str, strides: list[int] | None, pad: list[int] | None, ceil_mode: bool
) -> tuple[_windows.Pads, _windows.Pads]:
    """The padding, and how far the last window of `ceil_mode` reaches beyond it."""
    strides = strides or [1] * len(kernel_sizes)
    sizes = list(x.shape[2:])
    pads = _windows.pads(pad_type, pad, sizes, kernel_sizes, strides, [1] * len(sizes))
    beyond = []
    for size, window, stride, (before, after) in zip(sizes, kernel_sizes, strides, pads, strict=True):
        whole = size + before + after
        count = (whole - window) // stride + 1
        if ceil_mode:
            count = -(-(whole - window) // stride) + 1
            if (count - 1) * stride >= size + before and before + after > 0:
                count -= 1
        beyond.append((0, max(0, (count - 1) * stride + window - whole)))
    return pads, beyond
