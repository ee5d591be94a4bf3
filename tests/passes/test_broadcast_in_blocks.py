"""Products that broadcast get operands of one shape, where the runtime's blocked layout knows no other."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, noise, randomise, rewrite
from torch import Tensor, nn

BLOCKS = NO_LIMITS.model_copy(update={"channel_block": 4})
IMAGE = (2, 3, 5, 6)


def _channel_gate(net: Net, x: Tensor) -> Tensor:
    x = net.first(x)
    return x * torch.sigmoid(net.expand(torch.relu(net.squeeze(x.mean((2, 3), keepdim=True)))))


def _pixel_gate(net: Net, x: Tensor) -> Tensor:
    x = net.first(x)
    return x * torch.sigmoid(net.gate(torch.relu(x)))


def test_a_gate_a_channel_is_upsampled_and_its_mean_is_a_pooling() -> None:
    net = Net(_channel_gate, first=nn.Conv2d(3, 8, 1), squeeze=nn.Conv2d(8, 4, 1), expand=nn.Conv2d(4, 8, 1))
    done = rewrite("broadcast_in_blocks", randomise(net), noise(*IMAGE), profile=BLOCKS)
    assert done.changed == 1
    assert done.calls == ["conv2d", "avg_pool2d", "conv2d", "relu", "conv2d", "sigmoid", "upsample_nearest2d", "mul"]


def test_a_gate_a_pixel_is_made_for_a_block_of_channels_and_repeated() -> None:
    net = Net(_pixel_gate, first=nn.Conv2d(3, 12, 1), gate=nn.Conv2d(12, 1, 1))
    done = rewrite("broadcast_in_blocks", randomise(net), noise(*IMAGE), profile=BLOCKS)
    assert done.changed == 1
    assert done.calls == ["conv2d", "relu", "conv2d", "sigmoid", "cat", "mul"]


def test_channels_that_are_no_whole_blocks_are_refused() -> None:
    net = Net(_pixel_gate, first=nn.Conv2d(3, 12, 1), gate=nn.Conv2d(12, 1, 1))
    eights = BLOCKS.model_copy(update={"channel_block": 8})
    done = rewrite("broadcast_in_blocks", randomise(net), noise(*IMAGE), profile=eights)
    done.assert_refused("12 channels are no whole blocks of 8")


def test_a_gate_that_is_used_in_its_own_shape_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        x = net.first(x)
        gate = net.gate(x)
        return x * gate, gate

    net = Net(forward, first=nn.Conv2d(3, 8, 1), gate=nn.Conv2d(8, 1, 1))
    done = rewrite("broadcast_in_blocks", randomise(net), noise(*IMAGE), profile=BLOCKS)
    done.assert_refused("is used in its own shape too")


def test_a_map_outside_the_layout_and_a_runtime_without_it_are_left() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return x * torch.sigmoid(net.gate(x))

    outside = rewrite("broadcast_in_blocks", randomise(Net(forward, gate=nn.Conv2d(3, 1, 1))), noise(*IMAGE), profile=BLOCKS)
    net = Net(_pixel_gate, first=nn.Conv2d(3, 12, 1), gate=nn.Conv2d(12, 1, 1))
    without = rewrite("broadcast_in_blocks", randomise(net), noise(*IMAGE))
    for done in (outside, without):
        assert (done.changed, done.graph) == (0, done.graph_before)


@given(st.data())
def test_random_gates_keep_their_outputs(data: st.DataObject) -> None:
    channels = 4 * data.draw(st.integers(1, 3))
    pixel, bias = data.draw(st.booleans()), data.draw(st.booleans())
    parts = (
        {"gate": nn.Conv2d(channels, 1, 3, padding=1, bias=bias)}
        if pixel
        else {"squeeze": nn.Conv2d(channels, 4, 1, bias=bias), "expand": nn.Conv2d(4, channels, 1, bias=bias)}
    )
    net = Net(_pixel_gate if pixel else _channel_gate, first=nn.Conv2d(3, channels, 1), **parts)
    image = noise(data.draw(st.integers(1, 2)), 3, data.draw(st.integers(1, 6)), data.draw(st.integers(2, 6)))
    rewrite("broadcast_in_blocks", randomise(net), image, profile=BLOCKS)
