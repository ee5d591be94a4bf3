"""Reading and writing at computed positions.

Up to iOS 16 a negative index counts from the end; from iOS 17 on it is out of bounds, where Core ML's result is undefined.
Any index out of bounds raises.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgekit.runtimes.coreml_reference.ops import Opset

_NO_NEGATIVE_INDICES = 17


def gather(
    x: Tensor, indices: Tensor, opset: Opset, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False
) -> Tensor:
    """TensorFlow's gather: the axis gives way to all axes of `indices` after the first `batch_dims`."""
    axis %= x.ndim
    index = _checked(indices, x.shape[axis], opset)
    if batch_dims:
        batch, rest = x.shape[:batch_dims], axis - batch_dims
        rows = zip(x.flatten(0, batch_dims - 1), index.flatten(0, batch_dims - 1), strict=True)
        return torch.unflatten(torch.stack([_gather(row, taken, rest) for row, taken in rows]), 0, batch)
    return _gather(x, index, axis)


def _gather(x: Tensor, index: Tensor, axis: int) -> Tensor:
    return x.index_select(axis, index.flatten()).reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def gather_along_axis(x: Tensor, indices: Tensor, opset: Opset, axis: int = 0, validate_indices: bool = False) -> Tensor:
    return torch.take_along_dim(x, _checked(indices, x.shape[axis], opset), axis)


def gather_nd(x: Tensor, indices: Tensor, opset: Opset, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """The last axis of `indices` holds one position; what it does not reach into is taken whole."""
    if batch_dims:
        rows = zip(x.flatten(0, batch_dims - 1), indices.flatten(0, batch_dims - 1), strict=True)
        return torch.unflatten(torch.stack([row[_position(row, taken, opset)] for row, taken in rows]), 0, x.shape[:batch_dims])
    return x[_position(x, indices, opset)]


def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    opset: Opset,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    """`updates` written to whole slices of `data` along `axis`."""
    places = _places(data)
    return _written(data, _gather(places, _checked(indices, data.shape[axis], opset), axis % data.ndim), updates, mode)


def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    opset: Opset,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    index, places = _checked(indices, data.shape[axis], opset), _places(data)
    axis %= data.ndim
    part = places[tuple(slice(None) if a == axis else slice(index.shape[a]) for a in range(data.ndim))]
    return _written(data, part.gather(axis, index), updates, mode)


def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, opset: Opset, mode: str = "add", validate_indices: bool = False
) -> Tensor:
    return _written(data, _places(data)[_position(data, indices, opset)], updates, mode)


def _places(data: Tensor) -> Tensor:
    """Each element's position in the flattened tensor."""
    return torch.arange(math.prod(data.shape)).reshape(data.shape)


def _written(data: Tensor, places: Tensor, updates: Tensor, mode: str) -> Tensor:
    """`data` with `updates` combined into it at flat positions; of equal positions all count, the last in mode `update`."""
    flat, index, values = data.flatten().clone(), places.flatten(), updates.expand(places.shape).flatten()
    if mode == "update":
        flat[index] = values
    elif mode in ("add", "sub"):
        flat.index_add_(0, index, values, alpha=1 if mode == "add" else -1)
    elif mode == "div":
        flat = flat / torch.ones_like(flat).scatter_reduce_(0, index, values, "prod")
    else:
        flat.scatter_reduce_(0, index, values, {"mul": "prod", "max": "amax", "min": "amin"}[mode])
    return flat.reshape(data.shape)


def _position(x: Tensor, indices: Tensor, opset: Opset) -> tuple[Tensor, ...]:
    return tuple(_checked(part, x.shape[axis], opset) for axis, part in enumerate(indices.unbind(-1)))


def _checked(indices: Tensor, size: int, opset: Opset) -> Tensor:
    """The indices as positions from 0. Raises IndexError for one that is out of bounds."""
    index = indices.long()
    lowest = 0 if opset >= _NO_NEGATIVE_INDICES else -size
    outside = index[(index < lowest) | (index >= size)]
    if outside.numel():
        below = ", and from iOS 17 on negative ones are too" if lowest == 0 and int(outside[0]) < 0 else ""
        raise IndexError(f"index {int(outside[0])} is out of bounds of an axis of size {size}{below}")
    return torch.where(index < 0, index + size, index)
