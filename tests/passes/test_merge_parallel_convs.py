"""Convolutions of one input that are added become one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, noise, randomise, rewrite
from torch import Tensor, nn

IMAGE = (2, 4, 7, 7)


def _sum_of(*branches: nn.Module) -> nn.Module:
    """The branches' outputs, added in their order."""

    def forward(net: Net, x: Tensor) -> Tensor:
        total: Tensor = sum((branch(x) for branch in net.branches[1:]), start=net.branches[0](x))
        return total

    return randomise(Net(forward, branches=nn.ModuleList(branches)))


def test_3x3_and_1x1_and_identity_become_one() -> None:
    net = _sum_of(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 4, 1, groups=4, bias=False), nn.Identity())
    done = rewrite("merge_parallel_convs", net, noise(*IMAGE))
    assert done.changed == 1
    assert done.calls == ["conv2d"]
    assert done.program.parameter_count() == 4 * 9 + 4


@pytest.mark.parametrize(
    ("branches", "shape"),
    [
        ([nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(4, 6, 1, 2)], IMAGE),
        ([nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.Conv2d(4, 4, 1, dilation=2), nn.Identity()], IMAGE),
        ([nn.Conv2d(4, 4, (5, 3), padding=(2, 1)), nn.Conv2d(4, 4, (1, 3), padding=(0, 1))], IMAGE),
        ([nn.Conv2d(4, 4, 4, padding=1), nn.Conv2d(4, 4, 2)], IMAGE),
        ([nn.Identity(), nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)], IMAGE),
        ([nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(4, 4, 1), nn.Identity()], (2, 4, 9)),
        ([nn.Conv3d(2, 2, 3, padding=1), nn.Identity()], (1, 2, 4, 4, 4)),
    ],
    ids=["strided", "dilated", "oblong", "even kernels", "identity of a grouped one", "conv1d", "conv3d"],
)
def test_smaller_kernels_are_centred_in_the_largest(branches: list[nn.Module], shape: tuple[int, ...]) -> None:
    done = rewrite("merge_parallel_convs", _sum_of(*branches), noise(*shape))
    assert done.changed == 1
    assert len(done.calls) == 1


def test_other_terms_of_the_sum_stay() -> None:
    def forward(net: Net, x: Tensor, y: Tensor) -> Tensor:
        return net.wide(x) + y.relu() + (net.point(x) + net.other(y))

    convs = {"wide": nn.Conv2d(4, 4, 3, padding=1), "point": nn.Conv2d(4, 4, 1), "other": nn.Conv2d(4, 4, 1)}
    done = rewrite("merge_parallel_convs", randomise(Net(forward, **convs)), noise(*IMAGE), noise(*IMAGE, seed=2))
    assert done.changed == 1
    assert sorted(done.calls) == ["add", "add", "conv2d", "conv2d", "relu"]


@pytest.mark.parametrize(
    ("branches", "reason"),
    [
        ([nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=2, dilation=2)], "differ in stride, dilation or groups"),
        ([nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1, groups=2)], "differ in stride, dilation or groups"),
        ([nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 5, stride=3, padding=5)], "differ in stride, dilation or groups"),
        ([nn.Conv2d(4, 4, (5, 1), padding=(2, 0)), nn.Conv2d(4, 4, (1, 5), padding=(0, 2))], "are not aligned"),
        ([nn.Conv2d(4, 4, 3, padding=4, dilation=4), nn.Conv2d(4, 4, 2, padding=2, dilation=4)], "are not aligned"),
        ([nn.Conv2d(4, 4, 2, dilation=2, padding=1), nn.Identity()], "the identity falls between the dilated kernel's entries"),
    ],
    ids=["dilations", "groups", "strides", "crossed kernels", "offset by half a dilation", "identity between entries"],
)
def test_branches_that_do_not_line_up_are_refused(branches: list[nn.Module], reason: str) -> None:
    rewrite("merge_parallel_convs", _sum_of(*branches), noise(*IMAGE)).assert_refused(reason)


def test_an_identity_beside_a_stride_is_refused() -> None:
    done = rewrite("merge_parallel_convs", _sum_of(nn.Conv2d(4, 4, 1, stride=2, padding=3), nn.Identity()), noise(*IMAGE))
    done.assert_refused("the identity beside the convolution has another stride or shape")


def test_a_branch_that_is_used_twice_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        point = net.point(x)
        return net.wide(x) + point, point

    net = randomise(Net(forward, wide=nn.Conv2d(4, 4, 3, padding=1), point=nn.Conv2d(4, 4, 1)))
    rewrite("merge_parallel_convs", net, noise(*IMAGE)).assert_refused("conv2d (point) is used elsewhere too")


def test_a_branch_that_is_added_twice_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        both = net.wide(x) + net.point(x)
        return both + both

    net = randomise(Net(forward, wide=nn.Conv2d(4, 4, 3, padding=1), point=nn.Conv2d(4, 4, 1)))
    rewrite("merge_parallel_convs", net, noise(*IMAGE)).assert_refused("one branch is added twice")


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: torch.add(net.wide(x), net.point(x), alpha=2),
        lambda net, x: net.wide(x) - net.point(x),
        lambda net, x: net.wide(x) + net.one(x),
        lambda net, x: net.wide(x) + net.point(x.relu()),
    ],
    ids=["alpha", "difference", "broadcast", "other inputs"],
)
def test_what_is_no_plain_sum_of_one_input_stays(forward: object) -> None:
    net = randomise(Net(forward, wide=nn.Conv2d(4, 4, 3, padding=1), point=nn.Conv2d(4, 4, 1), one=nn.Conv2d(4, 1, 1)))
    done = rewrite("merge_parallel_convs", net, noise(*IMAGE))
    assert done.changed == 0
    assert done.graph == done.graph_before


@given(st.data())
def test_random_parallel_branches_keep_their_outputs(data: st.DataObject) -> None:
    dims = data.draw(st.integers(1, 2))
    groups, dilation = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    channels = groups * data.draw(st.integers(1, 2))

    def branch() -> nn.Module:
        kernel = [data.draw(st.sampled_from([1, 3, 5])) for _ in range(dims)]
        padding = [dilation * (size // 2) for size in kernel]
        bias = data.draw(st.booleans())
        conv = (nn.Conv1d, nn.Conv2d)[dims - 1]
        return conv(channels, channels, kernel, 1, padding, dilation, groups, bias)

    branches = [branch() for _ in range(data.draw(st.integers(1, 3)))]
    if data.draw(st.booleans()):
        branches.insert(data.draw(st.integers(0, len(branches))), nn.Identity())
    rewrite("merge_parallel_convs", _sum_of(*branches), noise(1, channels, *[7] * dims))
