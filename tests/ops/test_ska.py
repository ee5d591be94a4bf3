"""SKA against its definition, written out as loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from edgekit.ops.ska import ska


def _loops(x: Tensor, w: Tensor) -> Tensor:
    """out[b, c, p] = sum over k of x[b, c, p + offset_k] * w[b, c mod G, k, p], zero outside the image."""
    height, width = x.shape[2:]
    groups, area = w.shape[1:3]
    side = math.isqrt(area)
    out = torch.zeros_like(x)
    for b, c, row, column in itertools.product(*map(range, x.shape)):
        for k in range(area):
            from_row, from_column = row + k // side - side // 2, column + k % side - side // 2
            if 0 <= from_row < height and 0 <= from_column < width:
                out[b, c, row, column] += x[b, c, from_row, from_column] * w[b, c % groups, k, row, column]
    return out


def _pair(batch: int, channels: int, groups: int, side: int, size: tuple[int, int] = (4, 5)) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn((batch, channels, *size), generator=random, dtype=torch.float64)
    return x, torch.randn((batch, groups, side * side, *size), generator=random, dtype=torch.float64)


@pytest.mark.parametrize(
    ("batch", "channels", "groups", "side"),
    [(1, 6, 3, 3), (2, 6, 2, 3), (2, 4, 4, 1), (1, 4, 2, 5), (2, 3, 1, 3)],
    ids=["one image", "a batch", "1x1", "5x5", "one kernel for all"],
)
def test_it_is_the_loops_of_its_definition(batch: int, channels: int, groups: int, side: int) -> None:
    x, w = _pair(batch, channels, groups, side)
    torch.testing.assert_close(ska(x, w), _loops(x, w), rtol=1e-12, atol=1e-12)


def test_channels_take_the_kernel_of_their_remainder_not_of_their_block() -> None:
    x, w = torch.ones(1, 4, 1, 1), torch.tensor([10.0, 20.0]).reshape(1, 2, 1, 1, 1)
    assert ska(x, w).flatten().tolist() == [10, 20, 10, 20]


def test_the_image_is_zero_outside() -> None:
    x, w = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 9, 2, 2)
    assert ska(x, w).flatten().tolist() == [4, 4, 4, 4]


def test_any_memory_layout_is_taken() -> None:
    x, w = _pair(2, 6, 3, 3)
    turned = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ska(turned, w), _loops(x, w))
    torch.testing.assert_close(ska(x[:, :, ::2], w[..., ::2, :]), _loops(x[:, :, ::2], w[..., ::2, :]))


@pytest.mark.parametrize(("batch", "side"), [(1, 3), (2, 5)])
def test_its_gradient_is_that_of_the_definition(batch: int, side: int) -> None:
    x, w = _pair(batch, 4, 2, side, (3, 4))
    assert torch.autograd.gradcheck(ska, (x.requires_grad_(), w.requires_grad_()))


@pytest.mark.parametrize(
    "rules",
    [
        ("test_schema", "test_autograd_registration", "test_faketensor"),
        pytest.param(("test_aot_dispatch_dynamic",), marks=pytest.mark.slow),
    ],
    ids=["declared", "compiled"],
)
def test_it_keeps_the_rules_of_custom_operators(rules: tuple[str, ...]) -> None:
    x, w = _pair(2, 6, 3, 3)
    torch.library.opcheck(ska, (x.requires_grad_(), w.requires_grad_()), test_utils=rules)


def test_its_outputs_have_the_layout_that_tracing_is_told() -> None:
    x, w = _pair(2, 6, 3, 5)
    for layout in (x.contiguous(memory_format=torch.channels_last), x[:, :, ::2].repeat(1, 1, 2, 1), x.transpose(2, 3)):
        kernels = w if layout.shape == x.shape else w.transpose(3, 4)
        torch.library.opcheck(ska, (layout, kernels), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(
    ("x_shape", "w_shape"),
    [
        ((1, 6, 4, 4), (1, 4, 9, 4, 4)),
        ((1, 6, 4, 4), (1, 3, 9, 4, 5)),
        ((1, 6, 4, 4), (1, 3, 4, 4, 4)),
        ((1, 6, 4, 4), (1, 3, 8, 4, 4)),
        ((2, 6, 4, 4), (1, 3, 9, 4, 4)),
        ((6, 4, 4), (1, 3, 9, 4, 4)),
        ((1, 6, 4, 4), (3, 9, 4, 4)),
    ],
    ids=["groups", "size", "even kernel", "no square kernel", "batch", "no batch", "kernels without a batch"],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_kernels_that_do_not_fit_the_input_are_refused(x_shape: tuple[int, ...], w_shape: tuple[int, ...], device: str) -> None:
    with pytest.raises(ValueError, match="do not fit an input"):
        ska(torch.zeros(x_shape, device=device), torch.zeros(w_shape, device=device))
