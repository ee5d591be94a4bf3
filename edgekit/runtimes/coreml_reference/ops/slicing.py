"""Taking tensors apart and putting them together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def slice_by_index(
    x: Tensor,
    begin: list[int],
    end: list[int],
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Tensor:
    """numpy's slices, negative strides included; a masked begin or end is absent, a squeezed axis is indexed."""
    ranges = _ranges(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    for axis, positions in enumerate(ranges):
        if len(positions) and positions.step > 0:
            x = x[(slice(None),) * axis + (slice(positions.start, positions.stop, positions.step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(positions), dtype=torch.int64))
    return _squeezed(x, squeeze_mask)


def slice_by_size(x: Tensor, begin: list[int], size: list[int]) -> Tensor:
    """A size of -1 takes the rest."""
    for axis, (start, length) in enumerate(zip(begin, size, strict=True)):
        start = start if start >= 0 else start + x.shape[axis]
        x = x.narrow(axis, start, x.shape[axis] - start if length == -1 else length)
    return x


def slice_update(
    x: Tensor,
    update: Tensor,
    begin: list[int],
    end: list[int],
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Tensor:
    """`x` with what `slice_by_index` would take replaced by `update`."""
    ranges = _ranges(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    index = tuple(
        torch.tensor(list(positions), dtype=torch.int64).reshape([-1 if other == axis else 1 for other in range(x.ndim)])
        for axis, positions in enumerate(ranges)
    )
    result = x.clone()
    result[index] = update.reshape([len(positions) for positions in ranges])
    return result


def crop(x: Tensor, crop_height: list[int], crop_width: list[int]) -> Tensor:
    (top, bottom), (left, right) = crop_height, crop_width
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def split(x: Tensor, axis: int, num_splits: int | None = None, split_sizes: list[int] | None = None) -> list[Tensor]:
    return list(torch.split(x, split_sizes if split_sizes is not None else x.shape[axis] // (num_splits or 1), axis))


def concat(values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    """Interleaved, the slices along `axis` alternate between the tensors."""
    if not interleave:
        return torch.cat(values, axis)
    axis %= values[0].ndim
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def stack(values: list[Tensor], axis: int) -> Tensor:
    return torch.stack(values, axis)


def pad(x: Tensor, pad: list[int], mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """The last axes, as many as `pad` has pairs; `reflect` leaves the edge out, `replicate` repeats it."""
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    if mode == "constant":
        return F.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=constant_val)
    for axis, (before, after) in enumerate(pairs, x.ndim - len(pairs)):
        size = x.shape[axis]
        positions = torch.arange(-before, size + after)
        if mode == "reflect":
            positions = (size - 1) - ((size - 1) - positions.abs()).abs()
        x = x.index_select(axis, positions.clamp(0, size - 1))
    return x


def tile(x: Tensor, reps: list[int]) -> Tensor:
    return x.repeat(reps)


def reverse(x: Tensor, axes: list[int] | None = None) -> Tensor:
    return x.flip(list(range(x.ndim)) if axes is None else axes)


def reverse_sequence(x: Tensor, lengths: Tensor, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    """The first `lengths[i]` elements of each sequence in reverse, the rest as it is."""
    shape = [-1 if axis == batch_axis % x.ndim else 1 for axis in range(x.ndim)]
    each = lengths.long().reshape(shape)
    positions = torch.arange(x.shape[seq_axis]).reshape([-1 if axis == seq_axis % x.ndim else 1 for axis in range(x.ndim)])
    return torch.take_along_dim(x, torch.where(positions < each, each - 1 - positions, positions), seq_axis)


def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """Every window along `axis`, as a new axis after it."""
    axis %= x.ndim
    return x.unfold(axis, size, stride).movedim(-1, axis + 1)


def _ranges(
    x: Tensor,
    begin: list[int],
    end: list[int],
    stride: list[int] | None,
    begin_mask: list[bool] | None,
    end_mask: list[bool] | None,
    squeeze_mask: list[bool] | None,
) -> list[range]:
    """The positions taken along each axis."""
    found = []
    for axis, size in enumerate(x.shape):
        if squeeze_mask and squeeze_mask[axis]:
            first = 0 if begin_mask and begin_mask[axis] else begin[axis]
            first = first + size if first < 0 else first
            if not 0 <= first < size:
                raise IndexError(f"index {begin[axis]} is outside axis {axis} of size {size}")
            found.append(range(first, first + 1))
            continue
        start = None if begin_mask and begin_mask[axis] else begin[axis]
        stop = None if end_mask and end_mask[axis] else end[axis]
        found.append(range(*slice(start, stop, stride[axis] if stride else 1).indices(size)))
    return found


def _squeezed(x: Tensor, squeeze_mask: list[bool] | None) -> Tensor:
    axes = [axis for axis, squeezed in enumerate(squeeze_mask or []) if squeezed]
    return x.squeeze(axes) if axes else x
