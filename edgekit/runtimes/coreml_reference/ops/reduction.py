"""Reductions over axes: all of them when none are given."""

from __future__ import annotations

import torch
from torch import Tensor


def reduce_sum(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return x.sum(_axes(x, axes), keepdim=keep_dims)


def reduce_mean(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return x.float().mean(_axes(x, axes), keepdim=keep_dims)


def reduce_max(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return torch.amax(x, _axes(x, axes), keepdim=keep_dims)


def reduce_min(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return torch.amin(x, _axes(x, axes), keepdim=keep_dims)


def reduce_prod(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    for axis in sorted(_axes(x, axes), reverse=True):
        x = x.prod(axis, keepdim=keep_dims)
    return x


def reduce_l1_norm(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return x.abs().sum(_axes(x, axes), keepdim=keep_dims)


def reduce_l2_norm(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return x.float().square().sum(_axes(x, axes), keepdim=keep_dims).sqrt()


def reduce_sum_square(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return x.square().sum(_axes(x, axes), keepdim=keep_dims)


def reduce_log_sum(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return x.sum(_axes(x, axes), keepdim=keep_dims).log()


def reduce_log_sum_exp(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
    return x.float().logsumexp(_axes(x, axes), keepdim=keep_dims)


def reduce_argmax(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """The first of equals. `output_dtype` is the declared type, which every result takes anyway."""
    return x.argmax(axis, keepdim=keep_dims)


def reduce_argmin(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """The first of equals."""
    return x.argmin(axis, keepdim=keep_dims)


def _axes(x: Tensor, axes: list[int] | None) -> list[int]:
    return list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes]
