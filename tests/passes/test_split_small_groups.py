"""A convolution of two channels a group becomes depthwise ones, its neighbours taking the new order of channels."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, noise, randomise, rewrite
from torch import Tensor, nn

from edgekit.passes._graph import argument, aten, calls

IMAGE = (2, 3, 5, 6)
DEPTHWISE = NO_LIMITS.model_copy(update={"small_groups": "depthwise"})


def _gated(net: Net, x: Tensor) -> Tensor:
    made = net.conv(nn.functional.gelu(net.first(x)) * net.second(x))
    gate = torch.sigmoid(net.expand(torch.relu(net.squeeze(made.mean((2, 3), keepdim=True)))))
    return net.last(torch.relu(made) * gate)


def _net(**changed: nn.Module) -> Net:
    parts = {
        "first": nn.Conv2d(3, 8, 1),
        "second": nn.Conv2d(3, 8, 3, padding=1, bias=False),
        "conv": nn.Conv2d(8, 8, 3, padding=1, groups=4),
        "squeeze": nn.Conv2d(8, 2, 1),
        "expand": nn.Conv2d(2, 8, 1),
        "last": nn.Conv2d(8, 5, 1),
    }
    return Net(_gated, **(parts | changed))


def _groups(convolutions: list[torch.fx.Node]) -> list[int]:
    return [int(argument(node, 6, "groups", 1)) for node in convolutions]


def test_two_channels_a_group_become_depthwise_convolutions_and_no_channel_is_moved() -> None:
    done = rewrite("split_small_groups", randomise(_net()), noise(*IMAGE), profile=DEPTHWISE)
    assert done.changed == 1
    convolutions = calls(done.program.functions["forward"].graph_module, aten.conv2d.default)
    assert _groups(convolutions) == [
        1,
        1,
        1,
        1,
        4,
        4,
        4,
        4,
        1,
        1,
        1,
    ]
    assert set(done.calls) == {"conv2d", "gelu", "mul", "add", "cat", "mean", "relu", "sigmoid"}


def test_a_gather_from_what_is_taken_apart_finds_its_channels() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        made = net.first(x)
        return net.last(net.conv(made)) + made.gather(1, x.argmax(1, keepdim=True))

    net = Net(forward, first=nn.Conv2d(3, 8, 1), conv=nn.Conv2d(8, 4, 3, padding=1, groups=4), last=nn.Conv2d(4, 5, 1))
    done = rewrite("split_small_groups", randomise(net), noise(*IMAGE), profile=DEPTHWISE)
    assert done.changed == 1


def test_channels_that_no_layer_makes_are_refused() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.last(net.conv(net.first(x).cumsum(1)))

    net = Net(forward, first=nn.Conv2d(3, 8, 1), conv=nn.Conv2d(8, 8, 3, groups=4), last=nn.Conv2d(8, 5, 1))
    rewrite("split_small_groups", randomise(net), noise(*IMAGE), profile=DEPTHWISE).assert_refused(
        "no layer makes the channels"
    )


def test_channels_that_something_else_reads_are_refused() -> None:
    def before(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        made = net.first(x)
        return net.last(net.conv(made)), made

    def behind(net: Net, x: Tensor) -> Tensor:
        return net.conv(net.first(x)).cumsum(1)

    for forward, reason in ((before, "is used whole by"), (behind, "needs the channels in their order")):
        net = Net(forward, first=nn.Conv2d(3, 8, 1), conv=nn.Conv2d(8, 8, 3, groups=4), last=nn.Conv2d(8, 5, 1))
        rewrite("split_small_groups", randomise(net), noise(*IMAGE), profile=DEPTHWISE).assert_refused(reason)


def test_where_the_runtime_has_small_groups_they_stay() -> None:
    done = rewrite("split_small_groups", randomise(_net()), noise(*IMAGE))
    assert (done.changed, done.graph) == (0, done.graph_before)


@given(st.data())
def test_random_groups_keep_their_outputs(data: st.DataObject) -> None:
    groups = data.draw(st.integers(2, 4))
    inputs, outputs = (groups * data.draw(st.integers(1, 2)) for _ in range(2))
    bias, stride = data.draw(st.booleans()), data.draw(st.integers(1, 2))
    conv = nn.Conv2d(inputs, outputs, data.draw(st.integers(1, 3)), stride, padding=1, groups=groups, bias=bias)
    parts = {
        "first": nn.Conv2d(3, inputs, 1, bias=bias),
        "second": nn.Conv2d(3, inputs, 3, padding=1),
        "squeeze": nn.Conv2d(outputs, 2, 1),
        "expand": nn.Conv2d(2, outputs, 1),
        "last": nn.Conv2d(outputs, 5, data.draw(st.integers(1, 2))),
    }
    done = rewrite("split_small_groups", randomise(_net(conv=conv, **parts)), noise(*IMAGE), profile=DEPTHWISE)
    assert done.changed == (max(inputs, outputs) > groups)
