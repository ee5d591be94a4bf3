"""A convolution of one or two channels reads four."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, Rewritten, noise, randomise, rewrite
from torch import nn

from edgekit.passes._graph import aten, calls, shape

FOUR = NO_LIMITS.model_copy(update={"least_channels": 4})


def _rewritten(conv: nn.Conv2d) -> Rewritten:
    net = Net(lambda net, x: net.conv(x) + x.sum(), conv=conv)
    return rewrite("fill_channels", randomise(net), noise(2, conv.in_channels, 7, 9), profile=FOUR)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_channels_are_repeated_for_the_convolution_alone(channels: int) -> None:
    done = _rewritten(nn.Conv2d(channels, 64, 3, padding=1))
    assert done.changed == 1
    assert sorted(done.calls) == ["add", "cat", "conv2d", "sum"]
    (node,) = calls(done.program.functions["forward"].graph_module, aten.conv2d.default)
    assert shape(node.all_input_nodes[1]) == (64, 4, 3, 3)


def test_what_cannot_be_repeated_to_that_many_or_makes_few_is_refused() -> None:
    _rewritten(nn.Conv2d(3, 64, 3)).assert_refused("3 channels repeated never are 4")
    _rewritten(nn.Conv2d(1, 16, 3)).assert_refused("16 output channels are too few")


def test_kernels_that_need_no_filling_stay() -> None:
    for conv in (nn.Conv2d(4, 64, 3), nn.Conv2d(1, 64, 1), nn.Conv2d(64, 64, 3, groups=64)):
        done = _rewritten(conv)
        assert (done.changed, done.reasons, done.graph) == (0, [], done.graph_before)
    net = Net(lambda net, x: net.conv(x), conv=nn.Conv2d(1, 64, 3))
    assert rewrite("fill_channels", randomise(net), noise(1, 1, 7, 9)).changed == 0


@given(st.data())
def test_random_convolutions_keep_their_outputs(data: st.DataObject) -> None:
    pairs = [data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) for _ in range(2)]
    (kernel, stride), padding = pairs, data.draw(st.integers(0, 2))
    conv = nn.Conv2d(data.draw(st.integers(1, 5)), 64, kernel, stride, padding, bias=data.draw(st.booleans()))
    _rewritten(conv)
