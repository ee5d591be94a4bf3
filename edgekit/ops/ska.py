"""SKA, the small-kernel aggregation of LSNet (2503.23135, section 3.2): a 3x3 convolution whose kernel is given at every
position and shared by the channels that leave the same remainder.

    out[b, c, p] = sum over k in 3x3 of  x[b, c, p + offset_k] * w[b, c mod G, k, p],   zero padding
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula


def shifts(kernel_area: int) -> Iterator[tuple[int, int, int]]:
    """(k, row, column) of each kernel entry, in the order `w` holds them; row and column are offsets into the padded
    input."""
    side = math.isqrt(kernel_area)
    for k in range(kernel_area):
        row, column = divmod(k, side)
        yield k, row, column


def definition(x: Tensor, w: Tensor) -> Tensor:
    """Aggregate `x` [B, C, H, W] with the kernels `w` [B, G, K*K, H, W], K odd and G a divisor of C; gives
    [B, C, H, W]. Channel c uses kernel c mod G (interleaved, not blocked)."""
    _check(x, w)
    batch, channels, height, width = x.shape
    groups, area = w.shape[1:3]
    margin = math.isqrt(area) // 2
    padded = F.pad(x, (margin,) * 4).view(batch, channels // groups, groups, height + 2 * margin, width + 2 * margin)
    out = x.new_zeros(())
    for k, row, column in shifts(area):
        out = out + padded[..., row : row + height, column : column + width] * w[:, None, :, k]
    return out.reshape(x.shape).contiguous()


ska = torch.library.custom_op("edgekit::ska", definition, mutates_args=())


@ska.register_fake
def _(x: Tensor, w: Tensor) -> Tensor:
    _check(x, w)
    return x.new_empty(x.shape)


def _check(x: Tensor, w: Tensor) -> None:
    fits = x.dim() == 4 and w.dim() == 5 and w.shape[0] == x.shape[0] and w.shape[3:] == x.shape[2:]
    if not fits or x.shape[1] % w.shape[1] or math.isqrt(w.shape[2]) ** 2 != w.shape[2] or w.shape[2] % 2 == 0:
        raise ValueError(f"SKA: kernels {list(w.shape)} do not fit an input {list(x.shape)}")


def _backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, w = ctx.saved_tensors  # type: ignore[attr-defined]  # torch types the context without it
    batch, channels, height, width = x.shape
    groups, area = w.shape[1:3]
    margin = math.isqrt(area) // 2
    padded = F.pad(x, (margin,) * 4).view(batch, channels // groups, groups, height + 2 * margin, width + 2 * margin)
    grad = grad.reshape(batch, channels // groups, groups, height, width)
    grad_padded, grad_w = torch.zeros_like(padded), torch.empty_like(w)
    for k, row, column in shifts(area):
        window = (..., slice(row, row + height), slice(column, column + width))
        grad_padded[window] += grad * w[:, None, :, k]
        grad_w[:, :, k] = (grad * padded[window]).sum(1)
    inner = grad_padded[..., margin : margin + height, margin : margin + width]
    return inner.reshape(x.shape), grad_w


def _save_inputs(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


ska.register_autograd(_backward, setup_context=_save_inputs)


@register_flop_formula(torch.ops.edgekit.ska)
def _flops(x_shape: torch.Size, w_shape: torch.Size, *_: object, **__: object) -> int:
    return 2 * w_shape[2] * math.prod(x_shape)
