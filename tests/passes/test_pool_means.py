"""The means of maps become poolings where the profile says so."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, noise, rewrite
from torch import Tensor

POOLED = NO_LIMITS.model_copy(update={"spatial_mean": "pooled"})


def test_the_mean_of_a_map_is_a_pooling() -> None:
    net = Net(lambda net, x: x * x.mean((-1, 2), keepdim=True))
    assert rewrite("pool_means", net, noise(2, 4, 5, 6), profile=POOLED).calls == ["avg_pool2d", "mul"]


def test_it_stays_where_the_runtime_has_means() -> None:
    net = Net(lambda net, x: x.mean((2, 3), keepdim=True))
    assert rewrite("pool_means", net, noise(2, 4, 5, 6)).changed == 0


def test_a_mean_in_another_dtype_is_refused() -> None:
    net = Net(lambda net, x: x.mean((2, 3), keepdim=True, dtype=torch.float32))
    done = rewrite("pool_means", net, noise(2, 4, 5, 6), profile=POOLED)
    done.assert_refused("another dtype")


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.sets(st.integers(-5, 4), max_size=4), st.booleans())
def test_random_means_keep_their_outputs(sizes: list[int], axes: set[int], keepdim: bool) -> None:
    rank = len(sizes)
    chosen = list({axis % rank: axis for axis in axes if -rank <= axis < rank}.values())

    def forward(net: Net, x: Tensor) -> Tensor:
        return x.mean(chosen, keepdim=keepdim).exp()

    rewrite("pool_means", Net(forward), noise(*sizes), profile=POOLED)
