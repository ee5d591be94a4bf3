"""Compressed weights: operators on constants, computed once when a model is loaded."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def constexpr_affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int) -> Tensor:
    """scale * (data - zero point), both scalars or vectors along `axis`."""
    shape = [-1 if a == axis % quantized_data.ndim else 1 for a in range(quantized_data.ndim)]
    zero_point, scale = (v.reshape(shape) if v.ndim else v for v in (zero_point.float(), scale))
    return scale * (quantized_data.float() - zero_point)


def constexpr_blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """scale * (data - offset), each scale and offset for a block."""
    shifted = data.float() if offset is None else data.float() - _to_size(offset.float(), data.shape)
    return _to_size(scale, data.shape) * shifted


def constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    """From fp16 to fp32, the only pair there is."""
    return source_val.float()


def constexpr_lut_to_dense(
    indices: Tensor, lut: Tensor, shape: list[int] | None = None, vector_axis: int | None = None
) -> Tensor:
    """Look-up tables: one with packed indices (iOS 16, with `shape`), or one for each block of the indices, whose entries
    are vectors along `vector_axis` (iOS 18)."""
    if shape is not None:
        bits = max(1, (len(lut) - 1).bit_length())
        return lut[_unpacked(indices, bits, math.prod(shape))].reshape(shape)
    entries, size = lut.shape[-2:]
    tables = lut.reshape(-1, entries, size)
    table = _to_size(torch.arange(len(tables)).reshape(lut.shape[:-2]), indices.shape)
    found = tables[table, indices.long()]
    if size == 1:
        return found.squeeze(-1)
    axis = (vector_axis or 0) % indices.ndim
    return found.movedim(-1, axis + 1).flatten(axis, axis + 1)


def constexpr_sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: list[int] | None = None) -> Tensor:
    """The values in order where the mask is set, zero elsewhere. The mask is packed bits with a `shape` up to iOS 17."""
    if shape is not None:
        mask = _unpacked(mask, 1, math.prod(shape)).reshape(shape)
    dense = torch.zeros(mask.shape, dtype=nonzero_data.dtype)
    dense[mask.bool()] = nonzero_data
    return dense


def constexpr_lut_to_sparse(
    indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, vector_axis: int | None = None
) -> list[Tensor]:
    """The mask and the values of `constexpr_lut_to_dense`, for the set positions alone."""
    indices = constexpr_sparse_to_dense(indices_nonzero_data, indices_mask)
    mask, size = indices_mask, lut.shape[-1]
    if size > 1:
        mask = mask.repeat_interleave(size, (vector_axis or 0) % mask.ndim)
    return [mask, constexpr_lut_to_dense(indices, lut, None, vector_axis)[mask.bool()]]


def constexpr_sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> list[Tensor]:
    """The mask and the values of `constexpr_blockwise_shift_scale`, for the set positions alone."""
    data = constexpr_sparse_to_dense(nonzero_data, data_mask)
    return [data_mask, constexpr_blockwise_shift_scale(data, scale, offset)[data_mask.bool()]]


def _to_size(values: Tensor, shape: torch.Size) -> Tensor:
    """Each value repeated over its block."""
    for axis, size in enumerate(shape):
        if values.shape[axis] not in (1, size):
            values = values.repeat_interleave(size // values.shape[axis], axis)
    return values.expand(shape)


def _unpacked(packed: Tensor, bits: int, count: int) -> Tensor:
    """Numbers of `bits` bits, packed from the least significant bit on."""
    each = (packed.long().reshape(-1, 1) >> torch.arange(8)) & 1
    numbers = each.flatten()[: count * bits].reshape(count, bits)
    return (numbers << torch.arange(bits)).sum(-1)
