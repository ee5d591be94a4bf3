"""Ranges of each run's own, in the graph."""

from __future__ import annotations

import pytest
import torch
from quantizing import INTEGERS, Mixer, ask, calls, integers_of, noise, quantized, run
from torch import Tensor, nn

from edgekit import metrics
from edgekit.quantize.sites import operator_of

ROWS = integers_of("host", "executorch")
"""A range for each row of a linear, and no such kernel for pointwise convolutions."""


WHOLE = INTEGERS.model_copy(update={"dynamic": {"int8": ("linear", "conv2d")}})
"""One range for all that an operator reads."""


class Pixels(nn.Module):
    """A linear of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(32, 8)

    def forward(self, image: Tensor) -> Tensor:
        return self.mix(image.permute(0, 2, 3, 1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("support", [ROWS, WHOLE], ids=["rows", "whole"])
@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_range_follows_what_a_run_reads(support: object, scale: float) -> None:
    torch.manual_seed(0)
    module, image = Mixer(), noise(1, 3, 16, 16) * scale
    (found,) = run(quantized(ask(module, noise(1, 3, 16, 16), support=support, scheme="int8-dynamic")), image)
    assert metrics.sqnr_db(module(image).detach().numpy(), found.numpy()) > 30


def test_pointwise_convolutions_become_linears_of_rows_where_the_runtime_wants_them() -> None:
    program = quantized(ask(Mixer(), noise(1, 3, 16, 16), support=ROWS, scheme="int8-dynamic"))
    linears = calls(program, "linear")
    assert len(linears) == 4
    assert {operator_of(linear.all_input_nodes[0]) for linear in linears} == {"dequantize_per_token"}
    stem, depthwise = calls(program, "conv2d")
    assert operator_of(stem.all_input_nodes[0]) == "dequantize_per_tensor"
    assert not operator_of(depthwise.all_input_nodes[0]).startswith("dequantize")


def test_they_stay_where_it_has_the_kernels() -> None:
    program = quantized(ask(Mixer(), noise(1, 3, 16, 16), support=WHOLE, scheme="int8-dynamic"))
    assert len(calls(program, "linear")) == 1
    assert not calls(program, "quantize_per_token")


def test_a_linear_of_images_is_one_of_rows() -> None:
    image, module = noise(2, 32, 4, 5), Pixels()
    program = quantized(ask(module, image, support=ROWS, scheme="int8-dynamic"))
    (linear,) = calls(program, "linear")
    assert linear.meta["val"].shape == (2, 20, 8)
    (found,) = run(program, image)
    assert found.shape == (2, 4, 5, 8)
    assert metrics.sqnr_db(module(image).detach().numpy(), found.numpy()) > 30
