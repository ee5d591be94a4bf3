"""Means that drop their axes keep them, and reshape."""

from __future__ import annotations

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
