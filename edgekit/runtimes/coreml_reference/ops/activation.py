"""Activation functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def relu(x: Tensor) -> Tensor:
    return torch.relu(x)


def relu6(x: Tensor) -> Tensor:
    return torch.clamp(x, 0, 6)


def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(torch.where(x >= 0, x, alpha * x), max=beta)


def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x >= 0, x, alpha * x)


def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x >= alpha, x, torch.zeros_like(x))


def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(x > 0, x, _by_channel(alpha, x) * x)


def elu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x > 0, x, alpha * torch.expm1(x))


def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate={"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode])


def linear_activation(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * x + beta


def sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


def sigmoid_hard(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(alpha * x + beta, 0, 1)


def silu(x: Tensor) -> Tensor:
    return F.silu(x)


def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * torch.tanh(beta * x)


def softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return _by_channel(alpha, x) * softplus(_by_channel(beta, x) * x)


def softsign(x: Tensor) -> Tensor:
    return x / (1 + x.abs())


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    """`values` along the second axis of `x`."""
    return values.reshape(-1, *[1] * (x.ndim - 2))
