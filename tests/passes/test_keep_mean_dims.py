"""Means that drop their axes keep them, and reshape."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, noise, rewrite
from torch import Tensor, nn

IMAGE = (2, 4, 5, 6)


def test_a_spatial_mean_keeps_its_axes_before_a_reshape() -> None:
    done = rewrite("keep_mean_dims", Net(lambda net, x: x.mean((2, 3))), noise(*IMAGE))
    assert done.changed == 1
    assert done.calls == ["mean", "reshape"]


def test_pooling_to_one_cell_is_a_mean() -> None:
    done = rewrite("keep_mean_dims", nn.AdaptiveAvgPool2d(1), noise(*IMAGE))
    assert done.calls == ["mean"]


def test_a_mean_that_keeps_its_axes_and_one_over_everything_stay() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True) * x.mean()

    done = rewrite("keep_mean_dims", Net(forward), noise(*IMAGE))
    assert done.changed == 0
    assert done.graph == done.graph_before


def test_pooling_to_several_cells_stays() -> None:
    assert rewrite("keep_mean_dims", nn.AdaptiveAvgPool2d(2), noise(2, 4, 6, 6)).changed == 0


def test_a_mean_in_another_dtype_is_refused() -> None:
    done = rewrite("keep_mean_dims", Net(lambda net, x: x.mean((2, 3), dtype=torch.float32)), noise(*IMAGE))
    done.assert_refused("it makes torch.float32 of torch.float64")


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.sets(st.integers(-5, 4), max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_random_means_keep_their_outputs(shape: list[int], axes: set[int], keepdim: bool, pool: bool) -> None:
    rank = len(shape)
    chosen = list({axis % rank: axis for axis in axes if -rank <= axis < rank}.values())

    def forward(net: Net, x: Tensor) -> Tensor:
        found = x.mean(chosen, keepdim=keepdim).exp()
        return found * nn.functional.adaptive_avg_pool2d(x, (1, 1)).sum() if pool and rank in (3, 4) else found

    rewrite("keep_mean_dims", Net(forward), noise(*shape))
