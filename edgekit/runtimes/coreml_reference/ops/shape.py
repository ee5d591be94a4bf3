"""Shapes, layouts and tensors made from nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.runtimes.coreml_reference.ops import Opset

_ZERO_FROM_THE_RIGHT = 17


def shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


def reshape(x: Tensor, shape: list[int], opset: Opset) -> Tensor:
    """A 0 inherits the size of the same axis of `x`; from iOS 17 on axes are then counted from the right, and one that
    `x` lacks is 1."""
    missing = x.ndim - len(shape) if opset >= _ZERO_FROM_THE_RIGHT else 0
    sizes = []
    for axis, size in enumerate(shape):
        if size == 0 and x.numel():
            size = x.shape[axis + missing] if 0 <= axis + missing < x.ndim else 1
        sizes.append(size)
    return x.reshape(sizes)


def reshape_like(x: Tensor, ref_tensors: list[Tensor], begins: list[int], ends: list[int], end_masks: list[bool]) -> Tensor:
    """The sizes are parts of the references' shapes, one after another."""
    sizes: list[int] = []
    for reference, begin, end, to_the_end in zip(ref_tensors, begins, ends, end_masks, strict=True):
        sizes += reference.shape[begin:] if to_the_end else reference.shape[begin:end]
    return x.reshape(sizes)


def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    """The axes before `axis` as one, the rest as the other."""
    rows = x.shape[:axis].numel()
    return x.reshape(rows, x.numel() // rows if rows else 0)


def expand_dims(x: Tensor, axes: list[int]) -> Tensor:
    """Axes are those of the result."""
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, axes: list[int] | None = None) -> Tensor:
    """Axes longer than one stay."""
    return x.squeeze() if axes is None else x.squeeze(axes)


def transpose(x: Tensor, perm: list[int]) -> Tensor:
    return x.permute(perm)


def fill(shape: list[int], value: Tensor | None = None) -> Tensor:
    return torch.zeros(shape) if value is None else value.expand(shape).clone()


def fill_like(ref_tensor: Tensor, value: Tensor | None = None) -> Tensor:
    return fill(list(ref_tensor.shape), value)


def range_1d(start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


def one_hot(
    indices: Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: Tensor | None = None,
    off_value: Tensor | None = None,
) -> Tensor:
    """An index outside the vector is nowhere on."""
    axis %= indices.ndim + 1
    classes = torch.arange(one_hot_vector_size).reshape([-1, *[1] * (indices.ndim - axis)])
    on = indices.unsqueeze(axis) == classes
    return torch.where(
        on,
        torch.tensor(1, dtype=torch.int32) if on_value is None else on_value,
        torch.tensor(0, dtype=torch.int32) if off_value is None else off_value,
    )


def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """Zero outside the diagonals from `lower` below to `upper` above the main one; a negative count keeps all."""
    below = torch.arange(x.shape[-2]).unsqueeze(1) - torch.arange(x.shape[-1])
    inside = torch.ones_like(below, dtype=torch.bool)
    inside = inside if lower < 0 else inside & (below <= lower)
    inside = inside if upper < 0 else inside & (-below <= upper)
    return torch.where(inside, x, torch.zeros_like(x))


def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """TensorFlow's order: the block's place is the slow part of the channel."""
    n, c, h, w = x.shape
    parts = x.reshape(n, block_size, block_size, c // block_size**2, h, w)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block_size**2, h * block_size, w * block_size)


def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    """The inverse of `depth_to_space`."""
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // block_size, block_size, w // block_size, block_size)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block_size**2, h // block_size, w // block_size)


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """PyTorch's order: the block's place is the fast part of the channel."""
    return F.pixel_shuffle(x, upscale_factor)


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    return F.pixel_unshuffle(x, downscale_factor)


def space_to_batch(x: Tensor, block_shape: list[int], paddings: Tensor) -> Tensor:
    (top, bottom), (left, right) = paddings.tolist()
    x = F.pad(x, (left, right, top, bottom))
    (rows, columns), (n, c, h, w) = block_shape, x.shape
    parts = x.reshape(n, c, h // rows, rows, w // columns, columns)
    return parts.permute(3, 5, 0, 1, 2, 4).reshape(n * rows * columns, c, h // rows, w // columns)


def batch_to_space(x: Tensor, block_shape: list[int], crops: Tensor) -> Tensor:
    (top, bottom), (left, right) = crops.tolist()
    (rows, columns), (n, c, h, w) = block_shape, x.shape
    parts = x.reshape(rows, columns, n // (rows * columns), c, h, w)
    whole = parts.permute(2, 3, 4, 0, 5, 1).reshape(n // (rows * columns), c, h * rows, w * columns)
    return whole[..., top : h * rows - bottom, left : w * columns - right]
