"""Resizing by scale or to a size: the last two axes (the last `resized_dims` in `resize`), one after the other."""

from __future__ import annotations

import torch
from torch import Tensor


def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    return _linear(_linear(x, -2, target_size_height, sampling_mode), -1, target_size_width, sampling_mode)


def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    return _nearest(_nearest(x, -2, target_size_height, "DEFAULT"), -1, target_size_width, "DEFAULT")


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
    """A size of 0 keeps the axis. Nearest neighbours are below the grid points in `DEFAULT`, at a half above in the others."""
    along = _linear if interpolation_mode == "LINEAR" else _nearest
    for axis in range(-resized_dims, 0):
        x = along(x, axis, shape[axis] or x.shape[axis], sampling_mode)
    return x


def _grid(size_in: float, size_out: int, mode: str) -> Tensor:
    """Where `size_out` samples lie among positions 0 to `size_in - 1`, in float64."""
    steps = torch.arange(size_out, dtype=torch.float64)
    if mode == "UNALIGN_CORNERS":
        points = (steps + 0.5) * (size_in / size_out) - 0.5
    elif mode == "DEFAULT":
        points = steps * size_in / size_out
    elif mode == "OFFSET_CORNERS":
        points = (steps + 0.5) * (max(1, size_in - 1) / size_out)
    elif mode == "ALIGN_CORNERS" and size_out == 1:
        points = steps + (size_in - 1) / 2
    else:
        points = steps * ((size_in - 1) / max(1, size_out - 1))
    return points.clamp(0, max(0, size_in - 1))


def _linear(x: Tensor, axis: int, size: int, mode: str) -> Tensor:
    points = _grid(x.shape[axis], size, mode)
    low = points.floor().long()
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    share = (points - low).to(x.dtype).reshape([-1, *[1] * (-axis - 1)])
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), share)


def _nearest(x: Tensor, axis: int, size: int, mode: str) -> Tensor:
    if mode == "DEFAULT":
        return x.index_select(axis, torch.arange(size) * x.shape[axis] // size)
    return x.index_select(axis, (_grid(x.shape[axis], size, mode) + 0.5).floor().long().clamp(max=x.shape[axis] - 1))
