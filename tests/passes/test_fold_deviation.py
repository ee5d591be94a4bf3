"""An amplified deviation from the mean of a map folds into the convolution that makes the map."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, Rewritten, noise, randomise, rewrite
from torch import Tensor, nn


def _amplified(net: Net, x: Tensor) -> Tensor:
    x = net.conv(x)
    return x + net.gamma * (x - x.mean((2, 3), keepdim=True))


def _rewritten(net: Net, gamma: Tensor | None = None) -> Rewritten:
    net = randomise(net)
    if gamma is not None:
        net.gamma = gamma
    return rewrite("fold_deviation", net, noise(2, 3, 5, 6))


def _gamma(channels: int = 4) -> nn.Parameter:
    return nn.Parameter(torch.zeros(1, channels, 1, 1))


def test_one_sum_is_left() -> None:
    done = _rewritten(Net(_amplified, conv=nn.Conv2d(3, 4, 1), gamma=_gamma()))
    assert done.changed == 1
    assert done.calls == ["conv2d", "mean", "conv2d", "add"]


@pytest.mark.parametrize("turned", range(4))
def test_operands_come_in_any_order(turned: int) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x)
        apart = x - x.mean((-1, -2), keepdim=True)
        product = apart * net.gamma if turned % 2 else net.gamma * apart
        return product + x if turned // 2 else x + product

    assert _rewritten(Net(forward, conv=nn.Conv2d(3, 4, 3, bias=False), gamma=_gamma())).changed == 1


def test_what_cannot_be_folded_is_refused() -> None:
    def used_otherwise(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x)
        return (x + net.gamma * (x - x.mean((2, 3), keepdim=True))) * x

    def mean_used_otherwise(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        x = net.conv(x)
        mean = x.mean((2, 3), keepdim=True)
        return x + net.gamma * (x - mean), mean

    def of_no_convolution(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x).relu()
        return x + net.gamma * (x - x.mean((2, 3), keepdim=True))

    parts = {"conv": nn.Conv2d(3, 4, 1), "gamma": _gamma()}
    _rewritten(Net(used_otherwise, **parts)).assert_refused("is used otherwise too")
    _rewritten(Net(mean_used_otherwise, **parts)).assert_refused("its parts are used otherwise too")
    _rewritten(Net(of_no_convolution, **parts)).assert_refused("no convolution makes the map")
    gone = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64).reshape(1, 4, 1, 1)
    _rewritten(Net(_amplified, conv=nn.Conv2d(3, 4, 1), gamma=noise(1, 4, 1, 1)), gone).assert_refused(
        "it takes a channel away"
    )


def test_other_sums_are_no_such_place() -> None:
    def of_one_axis(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x)
        return x + net.gamma * (x - x.mean(2, keepdim=True))

    def the_other_way(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x)
        return x + net.gamma * (x.mean((2, 3), keepdim=True) - x)

    for forward in (of_one_axis, the_other_way):
        done = _rewritten(Net(forward, conv=nn.Conv2d(3, 4, 1), gamma=_gamma()))
        assert (done.changed, done.reasons, done.graph) == (0, [], done.graph_before)


@given(st.data())
def test_random_gains_keep_their_outputs(data: st.DataObject) -> None:
    channels = data.draw(st.integers(1, 5))
    gains = [data.draw(st.floats(-0.9, 3.0)) for _ in range(channels)]
    gamma = torch.tensor(gains, dtype=torch.float64).reshape(1, channels, 1, 1)
    conv = nn.Conv2d(3, channels, data.draw(st.integers(1, 3)), bias=data.draw(st.booleans()))
    assert _rewritten(Net(_amplified, conv=conv, gamma=noise(1, channels, 1, 1)), gamma).changed == 1
