"""Soft shrinkage becomes what clamping takes away."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, noise, rewrite
from torch import nn


def test_nothing_is_left_of_it() -> None:
    done = rewrite("lower_softshrink", nn.Softshrink(0.01), noise(2, 5))
    assert done.changed == 1
    assert sorted(set(done.calls)) == ["clamp", "sub"]


def test_other_operators_stay() -> None:
    assert rewrite("lower_softshrink", nn.Hardshrink(0.01), noise(2, 5)).changed == 0


@given(st.sampled_from([0.0, 0.01, 0.5, 2.0]), st.integers(0, 99))
def test_it_gives_the_same_numbers_at_the_bounds_too(bound: float, seed: int) -> None:
    x = torch.cat([noise(16, seed=seed), torch.tensor([bound, -bound, 0.0, -0.0], dtype=torch.float64)])
    net = Net(lambda net, x: torch.nn.functional.softshrink(x, bound))
    assert rewrite("lower_softshrink", net, x).changed == 1
