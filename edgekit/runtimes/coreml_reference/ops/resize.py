"""Resizing by scale or to a size: the last two axes (the last `resized_dims` in `resize`), one after the other."""

from __future__ import annotations

import torch
from torch import Tensor


def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    return _linear(_linear(x, -2, target_size_height, sampling_mode), -1, target_size_width, sampling_mode)


def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """The neighbour at or before each point of the `DEFAULT` grid."""
    for axis, size in ((-2, target_size_height), (-1, target_size_width)):
        x = x.index_select(axis, torch.arange(size) * x.shape[axis] // size)
    return x


def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """The scale is that of the rounded sizes."""
    half_pixel = not align_corners if half_pixel_centers is None else half_pixel_centers
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half_pixel else "DEFAULT"
    height, width = int(x.shape[-2] * scale_factor_height), int(x.shape[-1] * scale_factor_width)
    return resize_bilinear(x, height, width, mode)


def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1) -> Tensor:
    return resize_nearest_neighbor(x, int(x.shape[-2] * scale_factor_height), int(x.shape[-1] * scale_factor_width))


def resize(
    x: Tensor, shape: list[int], resized_dims: int, interpolation_mode: str = "LINEAR", sampling_mode: str = "DEFAULT"
) -> Tensor:
    """A size of 0 keeps the axis. The neighbour nearest to a grid point is taken; which of two as near, is not documented
    (here the first, as doubling a size by repetition has it)."""
    along = _linear if interpolation_mode == "LINEAR" else _nearest
    for axis in range(-resized_dims, 0):
        x = along(x, axis, shape[axis] or x.shape[axis], sampling_mode)
    return x


def _grid(size_in: int, size_out: int, mode: str) -> Tensor:
    """Where `size_out` samples lie among positions 0 to `size_in - 1`, in float64."""
    return _points(0, size_in - 1, size_out, mode)


def _points(first: float, last: float, count: int, mode: str) -> Tensor:
    """Where `count` samples lie between two positions, the second of which may come before the first; in float64."""
    steps, length = torch.arange(count, dtype=torch.float64), last - first + 1
    if mode == "UNALIGN_CORNERS":
        points = first + (steps + 0.5) * (length / count) - 0.5
    elif mode == "DEFAULT":
        points = first + steps * length / count
    elif mode == "OFFSET_CORNERS":
        points = first + (steps + 0.5) * (max(1, length - 1) / count)
    elif mode == "ALIGN_CORNERS" and count == 1:
        points = first + steps + (length - 1) / 2
    else:
        points = first + steps * ((length - 1) / max(1, count - 1))
    return points.clamp(min(first, last), max(first, last))


def _linear(x: Tensor, axis: int, size: int, mode: str) -> Tensor:
    points = _grid(x.shape[axis], size, mode)
    low = points.floor().long()
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    share = (points - low).to(x.dtype).reshape([-1, *[1] * (-axis - 1)])
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), share)


def _nearest(x: Tensor, axis: int, size: int, mode: str) -> Tensor:
    return x.index_select(axis, (_grid(x.shape[axis], size, mode) - 0.5).ceil().long())
