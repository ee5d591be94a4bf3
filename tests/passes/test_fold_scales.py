"""Constant factors fold into the weights behind them, as far as they commute with what lies between."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st
from rewriting import Net, noise, randomise, rewrite
from torch import Tensor, nn

IMAGE = (2, 4, 6, 6)


def test_case_1_a_layer_scale_folds_into_its_convolution() -> None:
    net = Net(lambda net, x: net.conv(x) * net.gamma, conv=nn.Conv2d(4, 6, 3), gamma=noise(6, 1, 1))
    done = rewrite("fold_scales", randomise(net), noise(*IMAGE))
    assert done.changed == 1
    assert done.calls == ["conv2d"]


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.linear(x) * net.gamma,
        lambda net, x: net.gamma * net.linear(x),
        lambda net, x: net.linear(x) / net.gamma,
        lambda net, x: net.linear(x) * -2,
        lambda net, x: net.linear(x) / 2 * 3,
        lambda net, x: net.linear(x) * net.scalar,
        lambda net, x: net.linear(x) / net.integer,
    ],
    ids=["per channel", "from the left", "divisor", "number", "two numbers", "0-dim buffer", "whole-number buffer"],
)
@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 3, 4)], ids=str)
def test_case_1_factors_and_divisors_fold_into_a_linear(forward: object, shape: tuple[int, ...]) -> None:
    parts = {"gamma": torch.tensor([0.5, -2.0, 3.0, 0.1, 1.0]), "scalar": torch.tensor(-0.3), "integer": torch.tensor(3)}
    done = rewrite("fold_scales", randomise(Net(forward, linear=nn.Linear(4, 5), **parts)), noise(*shape))
    assert done.changed >= 1
    assert done.calls == ["linear"]


def test_case_2_the_scale_of_attention_folds_into_a_projection() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        heads = [project(x).view(2, 3, 2, 4).transpose(1, 2) for project in (net.query, net.key)]
        return (heads[0] @ heads[1].transpose(-2, -1) / math.sqrt(4)).softmax(-1)

    done = rewrite("fold_scales", randomise(Net(forward, query=nn.Linear(5, 8), key=nn.Linear(5, 8))), noise(2, 3, 5))
    assert done.changed == 1
    assert "div" not in done.calls


@pytest.mark.parametrize(
    "between",
    [
        lambda x: x.flatten(2).transpose(1, 2),
        lambda x: x.mean((2, 3)),
        lambda x: x.sum((2, 3), keepdim=True),
        lambda x: nn.functional.adaptive_avg_pool2d(x, 1).flatten(1),
        lambda x: nn.functional.avg_pool2d(x, 3, 2, 1),
        lambda x: x.permute(0, 2, 3, 1).contiguous().view(2, -1),
        lambda x: x.unsqueeze(1).squeeze(1).neg(),
        lambda x: x.relu(),
    ],
    ids=["flatten and transpose", "mean", "sum", "adaptive pool", "padded pool", "permuted copy", "negated", "relu"],
)
def test_case_2_one_number_passes_what_commutes_with_it(between: object) -> None:
    net = Net(lambda net, x: net.between(net.conv(x)) * 0.25, conv=nn.Conv2d(4, 4, 3), between=between)
    done = rewrite("fold_scales", randomise(net), noise(*IMAGE))
    assert done.changed == 1
    assert "mul" not in done.calls


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda net, x: net.conv(x).relu() * -1, "relu does not commute with a factor"),
        (lambda net, x: net.conv(x).tanh() * 2, "tanh does not commute with a factor"),
        (lambda net, x: x * 2, "no layer's weights are behind it"),
        (lambda net, x: net.conv(x).mean((2, 3)) * net.gamma, "a factor per channel does not pass mean"),
        (lambda net, x: net.conv(x) * net.mask, "the factor differs along more than the channels"),
        (lambda net, x: net.conv(x) * net.row, "the factor differs along more than the channels"),
        (lambda net, x: (y := net.conv(x)) * 2 + y, "conv2d (conv) is used unscaled too"),
        (lambda net, x: (y := net.conv(x)) @ y * 2, "matmul multiplies a value with itself"),
    ],
    ids=["negative through relu", "tanh", "an input", "channels through a mean", "mask", "last axis", "shared", "square"],
)
def test_a_factor_that_cannot_pass_is_refused(forward: object, reason: str) -> None:
    net = Net(forward, conv=nn.Conv2d(4, 4, 1), gamma=noise(4), row=noise(6), mask=noise(4, 6, 6))
    rewrite("fold_scales", randomise(net), noise(*IMAGE)).assert_refused(reason)


def test_a_value_that_is_an_output_too_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        made = net.linear(x)
        return made * 2, made

    done = rewrite("fold_scales", randomise(Net(forward, linear=nn.Linear(4, 5))), noise(2, 4))
    done.assert_refused("linear (linear) is used unscaled too")


@pytest.mark.parametrize(
    ("factor", "shape"),
    [
        (torch.ones(2, 3, dtype=torch.float64), (1, 4)),
        (torch.full((1, 1, 1), 2.0, dtype=torch.float64), (2, 4)),
        (torch.tensor([1.0, math.inf, 0.0], dtype=torch.float64), (2, 4)),
    ],
    ids=["one that broadcasts rows", "one that adds an axis", "an infinite one"],
)
def test_a_factor_that_does_more_than_scale_is_left_alone(factor: Tensor, shape: tuple[int, ...]) -> None:
    net = Net(lambda net, x: net.linear(x) * net.factor, linear=nn.Linear(4, 3)).double()
    net.register_buffer("factor", factor)
    done = rewrite("fold_scales", net, noise(*shape))
    assert done.changed == 0
    assert done.graph == done.graph_before


def test_a_factor_that_widens_the_dtype_is_left_alone() -> None:
    net = Net(lambda net, x: net.linear(x) * net.factor, linear=nn.Linear(4, 3))
    net.register_buffer("factor", noise(3))
    assert rewrite("fold_scales", net, noise(2, 4).float()).changed == 0


def test_the_other_user_of_a_shared_weight_keeps_it() -> None:
    net = Net(lambda net, x: net.linear(net.linear(x) * 2), linear=nn.Linear(4, 4))
    assert rewrite("fold_scales", randomise(net), noise(2, 4)).changed == 1


@given(st.data())
def test_random_scales_keep_their_outputs(data: st.DataObject) -> None:
    steps = {
        "transpose": lambda x: x.transpose(1, 2),
        "view": lambda x: x.reshape(2, -1, 2),
        "mean": lambda x: x.mean(1, keepdim=True),
        "relu": lambda x: x.relu(),
        "neg": lambda x: -x,
        "tanh": lambda x: x.tanh(),
        "square": lambda x: x @ x if x.shape[1] == x.shape[2] else x,
        "product": lambda x: x @ x.transpose(1, 2),
        "softmax": lambda x: x.softmax(-1),
        "scale": lambda x: x * 0.5,
    }
    chosen = data.draw(st.lists(st.sampled_from(sorted(steps)), max_size=4))
    factor = data.draw(st.sampled_from([noise(4), noise(1), noise(), noise(4, 1), noise(2, 4, 4), 0.3, -1.5, 0]))
    divide = data.draw(st.booleans()) and not (isinstance(factor, int) and factor == 0)

    def forward(net: Net, x: Tensor) -> Tensor:
        y = net.layer(x)
        for step in chosen:
            y = steps[step](y)
        constant = getattr(net, "factor", factor)
        return y / constant if divide else y * constant

    layer = data.draw(st.sampled_from([nn.Linear(4, 4), nn.Conv1d(4, 4, 1), nn.Conv1d(4, 4, 1, groups=2, bias=False)]))
    net = randomise(Net(forward, layer=layer), data.draw(st.integers(0, 99)))
    if isinstance(factor, Tensor):
        net.register_buffer("factor", factor)
    try:
        net(noise(2, 4, 4))
    except RuntimeError:
        reject()  # the factor does not broadcast with what these steps make
    rewrite("fold_scales", net, noise(2, 4, 4))
