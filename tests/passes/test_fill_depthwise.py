"""Channels of depthwise convolutions are filled up to whole blocks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, Rewritten, noise, randomise, rewrite
from torch import Tensor, nn

from edgekit.passes._graph import aten, calls, shape

_DEPTHWISE = nn.Conv2d(14, 14, 3, groups=14)
EIGHTS = NO_LIMITS.model_copy(update={"depthwise_block": 8})


def _rewritten(net: nn.Module, *inputs: Tensor) -> Rewritten:
    return rewrite("fill_depthwise", randomise(net), *inputs, profile=EIGHTS)


def _weights(done: Rewritten) -> list[tuple[int, ...]]:
    convolutions = calls(done.program.functions["forward"].graph_module, aten.conv2d.default)
    return [shape(node.all_input_nodes[1]) for node in convolutions]


def _bottleneck(channels: int) -> nn.Sequential:
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
    return nn.Sequential(nn.Conv2d(4, channels, 1), nn.ReLU(), depthwise, nn.GELU(), nn.Conv2d(channels, 4, 1, bias=False))


def test_all_between_the_convolutions_around_is_filled() -> None:
    done = _rewritten(_bottleneck(13), noise(2, 4, 6, 7))
    assert done.changed == 1
    assert _weights(done) == [(16, 4, 1, 1), (16, 1, 3, 3), (4, 16, 1, 1)]
    assert done.calls == done.calls_before


def test_a_residual_stream_is_filled_whole() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.stem(x)
        x = x + net.depthwise(x)
        x = x * torch.sigmoid(net.gate(x)) * torch.sigmoid(net.squeezed(x.mean((2, 3), keepdim=True)))
        return net.head(x * net.scale - net.mixed(x))

    parts = {
        "stem": nn.Conv2d(3, 14, 3, 2),
        "depthwise": nn.Conv2d(14, 14, 3, padding=1, groups=14),
        "gate": nn.Conv2d(14, 1, 1),
        "squeezed": nn.Conv2d(14, 14, 1),
        "mixed": nn.Conv2d(14, 14, 1),
        "head": nn.Conv2d(14, 5, 1),
    }
    done = _rewritten(Net(forward, scale=noise(14, 1, 1), **parts), noise(2, 3, 9, 9))
    assert done.changed == 1
    assert set(_weights(done)) == {(16, 3, 3, 3), (16, 1, 3, 3), (1, 16, 1, 1), (16, 16, 1, 1), (5, 16, 1, 1)}


def test_what_else_reads_a_pixel_gets_the_channels_there_were() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 14, 1), nn.Conv2d(14, 14, 3, groups=14), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(14, 3)
    )
    done = _rewritten(net, noise(2, 4, 6, 7))
    assert done.changed == 1
    assert _weights(done) == [(16, 4, 1, 1), (16, 1, 3, 3)]
    assert "slice" in done.calls


def test_two_that_are_apart_are_filled_apart() -> None:
    done = _rewritten(nn.Sequential(_bottleneck(13), _bottleneck(7), _bottleneck(8)), noise(2, 4, 6, 7))
    assert done.changed == 2
    assert [weight[0] for weight in _weights(done)] == [16, 16, 4, 8, 8, 4, 8, 8, 4]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([_DEPTHWISE], "reads maps of 14 channels as no convolution does"),
        ([nn.PixelShuffle(1), _DEPTHWISE, nn.Conv2d(14, 4, 1)], "makes maps of 14 channels as no convolution does"),
        ([nn.GroupNorm(7, 14), _DEPTHWISE, nn.Conv2d(14, 4, 1)], "makes maps of 14 channels as no convolution does"),
    ],
)
def test_what_does_not_lie_between_convolutions_is_refused(parts: list[nn.Module], reason: str) -> None:
    _rewritten(nn.Sequential(nn.Conv2d(4, 14, 1), *parts), noise(2, 4, 6, 7)).assert_refused(reason)


def test_more_than_a_quarter_is_not_added() -> None:
    _rewritten(_bottleneck(9), noise(2, 4, 6, 7)).assert_refused("7 channels would have to be added to its 9")


def test_an_input_of_the_graph_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(14, 14, 3, groups=14), nn.Conv2d(14, 4, 1))
    _rewritten(net, noise(2, 14, 6, 7)).assert_refused("makes maps of 14 channels as no convolution does")


def test_whole_blocks_and_what_was_not_asked_for_stay() -> None:
    done = _rewritten(_bottleneck(16), noise(2, 4, 6, 7))
    assert (done.changed, done.reasons, done.graph) == (0, [], done.graph_before)
    assert rewrite("fill_depthwise", randomise(_bottleneck(13)), noise(2, 4, 6, 7)).changed == 0


@given(st.data())
def test_random_bottlenecks_keep_their_outputs(data: st.DataObject) -> None:
    channels, kernel, stride = (data.draw(st.integers(2, 40)), data.draw(st.sampled_from([1, 3])), data.draw(st.integers(1, 2)))
    activation = data.draw(st.sampled_from([nn.ReLU, nn.Sigmoid, nn.Hardswish, nn.SiLU, nn.Tanh, nn.ReLU6]))
    bias = data.draw(st.booleans())
    plane = data.draw(st.sampled_from([nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(1)]))
    middle = nn.Conv2d(channels, channels, kernel, stride, groups=channels, bias=bias)
    net = nn.Sequential(nn.Conv2d(3, channels, 1, bias=bias), activation(), middle, plane, nn.Conv2d(channels, 3, 1))
    _rewritten(net, noise(1, 3, 8, 8))
