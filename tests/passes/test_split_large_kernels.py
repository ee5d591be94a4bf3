"""A depthwise convolution of many taps becomes a sum of smaller ones around the same centre."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, Rewritten, noise, randomise, rewrite
from torch import nn

from edgekit.passes._graph import aten, calls, shape

FEW_TAPS = NO_LIMITS.model_copy(update={"depthwise_taps": 25})


def _rewritten(conv: nn.Module, channels: int = 4, size: int = 9) -> Rewritten:
    net = Net(lambda net, x: net.conv(x), conv=conv)
    return rewrite("split_large_kernels", randomise(net), noise(2, channels, size, size + 2), profile=FEW_TAPS)


def _kernels(done: Rewritten) -> list[tuple[int, ...]]:
    convolutions = calls(done.program.functions["forward"].graph_module, aten.conv2d.default)
    return [shape(node.args[1])[2:] for node in convolutions]  # type: ignore[arg-type]  # a weight is a node


def test_seven_by_seven_is_three_kernels_of_whole_rows() -> None:
    done = _rewritten(nn.Conv2d(4, 4, 7, padding=3, groups=4))
    assert done.changed == 1
    assert _kernels(done) == [(3, 7), (2, 7), (2, 7)]
    assert done.calls == ["conv2d", "conv2d", "add", "conv2d", "add"]


def test_rows_too_long_for_two_are_taken_apart_too() -> None:
    done = _rewritten(nn.Conv2d(4, 4, 13, padding=6, groups=4), size=8)
    assert sum(map(math.prod, _kernels(done))) == 13 * 13
    assert max(map(math.prod, _kernels(done))) <= 25


def test_a_kernel_that_reaches_further_than_the_padding_is_refused() -> None:
    _rewritten(nn.Conv2d(4, 4, 7, padding=1, groups=4)).assert_refused("it is padded by less")


def test_what_the_runtime_has_a_kernel_for_stays() -> None:
    for conv in (
        nn.Conv2d(4, 4, 5, padding=2, groups=4),
        nn.Conv2d(4, 4, 7, padding=3, groups=2),
        nn.Conv2d(4, 8, 7, padding=3, groups=4),
    ):
        done = _rewritten(conv)
        assert (done.changed, done.reasons, done.graph) == (0, [], done.graph_before)
    net = Net(lambda net, x: net.conv(x), conv=nn.Conv2d(4, 4, 7, padding=3, groups=4))
    assert rewrite("split_large_kernels", randomise(net), noise(1, 4, 9, 9)).changed == 0


@given(st.data())
def test_random_kernels_keep_their_outputs(data: st.DataObject) -> None:
    kernel = [data.draw(st.integers(1, 15)) for _ in range(2)]
    dilation = [data.draw(st.integers(1, 2)) for _ in range(2)]
    padding = [d * ((size - 1) // 2) + data.draw(st.integers(0, 2)) for size, d in zip(kernel, dilation, strict=True)]
    stride, bias = data.draw(st.integers(1, 3)), data.draw(st.booleans())
    done = _rewritten(nn.Conv2d(3, 3, kernel, stride, padding, dilation, 3, bias), channels=3, size=15)
    assert done.changed == (math.prod(kernel) > 25)
    assert max(map(math.prod, _kernels(done))) <= 25
