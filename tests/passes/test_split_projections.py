"""A layer whose output is only split becomes one layer a part."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, noise, randomise, rewrite
from torch import Tensor, nn

IMAGE = (2, 4, 5, 5)


def test_a_convolution_that_is_only_chunked_becomes_three() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        q, k, v = net.qkv(x).chunk(3, dim=1)
        return q * k + v

    done = rewrite("split_projections", randomise(Net(forward, qkv=nn.Conv2d(4, 12, 1))), noise(*IMAGE))
    assert done.changed == 1
    assert done.calls == ["conv2d", "conv2d", "conv2d", "mul", "add"]


def test_a_linear_is_split_on_its_last_axis() -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = net.both(x).split([1, 5], dim=-1)
        return first, second

    done = rewrite("split_projections", randomise(Net(forward, both=nn.Linear(4, 6, bias=False))), noise(2, 3, 4))
    assert done.changed == 1
    assert done.calls == ["linear", "linear"]


def test_a_grouped_convolution_is_split_between_its_groups() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        first, second = net.conv(x).split([2, 6], dim=1)
        return first.sum() + second

    done = rewrite("split_projections", randomise(Net(forward, conv=nn.Conv2d(4, 8, 3, groups=4))), noise(*IMAGE))
    assert done.changed == 1


def test_a_part_that_would_cut_a_group_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        first, second = net.conv(x).split([3, 5], dim=1)
        return first.sum() + second

    done = rewrite("split_projections", randomise(Net(forward, conv=nn.Conv2d(4, 8, 3, groups=4))), noise(*IMAGE))
    done.assert_refused("has groups that a part would cut")


def test_a_split_of_another_axis_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        top, bottom = net.conv(x).split([2, 3], dim=2)
        return top.sum() + bottom

    done = rewrite("split_projections", randomise(Net(forward, conv=nn.Conv2d(4, 4, 1))), noise(*IMAGE))
    done.assert_refused("it splits another axis than the channels")


def test_an_output_that_is_used_whole_too_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        whole = net.conv(x)
        first, second = whole.chunk(2, dim=1)
        return torch.cat([first * second, whole], 1)

    done = rewrite("split_projections", randomise(Net(forward, conv=nn.Conv2d(4, 4, 1))), noise(*IMAGE))
    done.assert_refused("is used whole too")


@given(st.data())
def test_random_layers_keep_their_outputs(data: st.DataObject) -> None:
    groups = data.draw(st.integers(1, 3))
    outputs_a_group, parts = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    sizes = [data.draw(st.integers(1, 3)) for _ in range(parts)]
    outputs = sum(sizes)
    if outputs % groups:
        groups = 1
    conv = nn.Conv2d(2 * groups, outputs, data.draw(st.integers(1, 3)), padding=1, groups=groups, bias=data.draw(st.booleans()))

    def forward(net: Net, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(part * (index + outputs_a_group) for index, part in enumerate(net.conv(x).split(sizes, dim=1)))

    done = rewrite("split_projections", randomise(Net(forward, conv=conv)), noise(2, 2 * groups, 5, 5))
    assert done.changed + len(done.reasons) == 1
