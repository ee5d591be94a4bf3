"""What an operator has to do, from its shapes: multiply-adds, and shapes as people write them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

Shape = tuple[int, ...]


def convolution(weight: Sequence[int], result: Sequence[int]) -> int:
    """Multiply-adds of a convolution with a weight [output channels, input channels of a group, *kernel]."""
    return math.prod(result) * math.prod(weight[1:])


def transposed_convolution(operand: Sequence[int], weight: Sequence[int]) -> int:
    """Multiply-adds of a transposed convolution with a weight [input channels, output channels of a group, *kernel]."""
    return math.prod(operand) * math.prod(weight[1:])


def product(summed: int, result: Sequence[int]) -> int:
    """Multiply-adds of a product of matrices, each element of whose result sums `summed` terms."""
    return math.prod(result) * summed


def written(operands: Iterable[Sequence[int | None]], results: Iterable[Sequence[int | None]]) -> str:
    """Shapes as `1x384x4x4, 768x384x1x1 -> 1x768x4x4`; None is a size that depends on the inputs."""
    return f"{', '.join(map(_times, operands))} -> {', '.join(map(_times, results))}"


def _times(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "1"
