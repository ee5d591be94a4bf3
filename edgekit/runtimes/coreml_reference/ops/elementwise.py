"""Arithmetic, comparison and logic, element by element, with numpy's broadcasting."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.runtimes.coreml_reference.ops import FLOATS, WHOLE


def add(x: Tensor, y: Tensor) -> Tensor:
    return x + y


def sub(x: Tensor, y: Tensor) -> Tensor:
    return x - y


def mul(x: Tensor, y: Tensor) -> Tensor:
    return x * y


def real_div(x: Tensor, y: Tensor) -> Tensor:
    """On integers the quotient loses its fraction, as the declared type has none."""
    return x / y


def floor_div(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode="floor")


def mod(x: Tensor, y: Tensor) -> Tensor:
    """With the divisor's sign."""
    return torch.remainder(x, y)


def pow(x: Tensor, y: Tensor) -> Tensor:
    return torch.pow(x, y)


def maximum(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x, y)


def minimum(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(x, y)


def equal(x: Tensor, y: Tensor) -> Tensor:
    return x == y


def not_equal(x: Tensor, y: Tensor) -> Tensor:
    return x != y


def greater(x: Tensor, y: Tensor) -> Tensor:
    return x > y


def greater_equal(x: Tensor, y: Tensor) -> Tensor:
    return x >= y


def less(x: Tensor, y: Tensor) -> Tensor:
    return x < y


def less_equal(x: Tensor, y: Tensor) -> Tensor:
    return x <= y


def logical_and(x: Tensor, y: Tensor) -> Tensor:
    return torch.logical_and(x, y)


def logical_or(x: Tensor, y: Tensor) -> Tensor:
    return torch.logical_or(x, y)


def logical_xor(x: Tensor, y: Tensor) -> Tensor:
    return torch.logical_xor(x, y)


def logical_not(x: Tensor) -> Tensor:
    return torch.logical_not(x)


def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond.bool(), a, b)


def identity(x: Tensor) -> Tensor:
    return x


def cast(x: Tensor, dtype: str) -> Tensor:
    """To integers towards zero; to bool whether it is not zero."""
    return x.to(torch.float32 if dtype in FLOATS else WHOLE[dtype])  # the interpreter rounds


def abs(x: Tensor) -> Tensor:
    return torch.abs(x)


def acos(x: Tensor) -> Tensor:
    return torch.acos(x)


def asin(x: Tensor) -> Tensor:
    return torch.asin(x)


def atan(x: Tensor) -> Tensor:
    return torch.atan(x)


def atanh(x: Tensor) -> Tensor:
    return torch.atanh(x)


def ceil(x: Tensor) -> Tensor:
    return torch.ceil(x)


def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.clamp(x, alpha, beta)


def cos(x: Tensor) -> Tensor:
    return torch.cos(x)


def cosh(x: Tensor) -> Tensor:
    return torch.cosh(x)


def erf(x: Tensor) -> Tensor:
    return torch.erf(x)


def exp(x: Tensor) -> Tensor:
    return torch.exp(x)


def exp2(x: Tensor) -> Tensor:
    return torch.exp2(x)


def floor(x: Tensor) -> Tensor:
    return torch.floor(x)


def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    return 1 / (x + epsilon)


def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    return torch.log(x + epsilon)


def round(x: Tensor) -> Tensor:
    """Halves to the even neighbour."""
    return torch.round(x)


def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    return 1 / torch.sqrt(x + epsilon)


def sign(x: Tensor) -> Tensor:
    return torch.sign(x)


def sin(x: Tensor) -> Tensor:
    return torch.sin(x)


def sinh(x: Tensor) -> Tensor:
    return torch.sinh(x)


def sqrt(x: Tensor) -> Tensor:
    return torch.sqrt(x)


def square(x: Tensor) -> Tensor:
    return x * x


def tan(x: Tensor) -> Tensor:
    return torch.tan(x)


def tanh(x: Tensor) -> Tensor:
    return torch.tanh(x)


def threshold(x: Tensor, alpha: float) -> Tensor:
    """No value below `alpha`."""
    return torch.clamp(x, min=alpha)
