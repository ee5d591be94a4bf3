"""Elementwise operators move in front of the reshapes of their operands."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, noise, rewrite
from torch import Tensor

IMAGE = (2, 6, 3, 3)


def test_a_chain_between_two_reshapes_loses_both() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return torch.relu(x.unflatten(1, (2, 3)) + 1).clamp(0.5, 2.0).flatten(1, 2)

    done = rewrite("sink_views", Net(forward), noise(*IMAGE))
    assert done.calls == ["add", "relu", "clamp"]


def test_a_constant_per_channel_is_reshaped_with_it() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return (x.unflatten(1, (2, 3)) * net.scale).flatten(1, 2)

    done = rewrite("sink_views", Net(forward, scale=noise(2, 3, 1, 1)), noise(*IMAGE))
    assert done.calls == ["mul"]


def test_two_views_of_equal_shapes_pass_together() -> None:
    def forward(net: Net, x: Tensor, y: Tensor) -> Tensor:
        return (x.view(2, 2, 3, 9) - y.view(2, 2, 3, 9)).view(2, 6, 3, 3)

    assert rewrite("sink_views", Net(forward), noise(*IMAGE), noise(*IMAGE)).calls == ["sub"]


def test_views_of_different_shapes_stay() -> None:
    def forward(net: Net, x: Tensor, y: Tensor) -> Tensor:
        return x.view(2, 2, 27) - y.view(2, 2, 27)

    done = rewrite("sink_views", Net(forward), noise(*IMAGE), noise(2, 3, 18))
    done.assert_refused("reshaped from different shapes")


def test_a_constant_that_would_grow_stays() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return x.view(2, 54) * net.scale

    def interleaved(net: Net, x: Tensor) -> Tensor:
        return x.view(6, 2, 9) * net.scale

    assert rewrite("sink_views", Net(forward, scale=noise(54)), noise(*IMAGE)).changed == 1
    done = rewrite("sink_views", Net(interleaved, scale=noise(2, 1)), noise(*IMAGE))
    done.assert_refused("scale would take more numbers")


def test_an_operand_that_broadcasts_stays() -> None:
    def forward(net: Net, x: Tensor, gate: Tensor) -> Tensor:
        return x.flatten(1) * gate.flatten(1)

    done = rewrite("sink_views", Net(forward), noise(*IMAGE), noise(2, 1, 1, 1))
    done.assert_refused("a reshaped operand broadcasts")


def test_an_operand_that_is_computed_stays() -> None:
    def forward(net: Net, x: Tensor, y: Tensor) -> Tensor:
        return x.flatten(1) * torch.relu(y)

    done = rewrite("sink_views", Net(forward), noise(*IMAGE), noise(2, 54))
    done.assert_refused("relu is neither reshaped nor a constant")


@given(st.data())
def test_random_chains_keep_their_outputs(data: st.DataObject) -> None:
    shapes = [(12,), (3, 4), (2, 6), (2, 3, 2), (1, 12), (12, 1)]
    steps = data.draw(
        st.lists(st.tuples(st.sampled_from(shapes), st.sampled_from(["relu", "neg", "add", "mul", "swap"])), max_size=6)
    )

    def forward(net: Net, x: Tensor) -> Tensor:
        for shape, step in steps:
            x = x.reshape(shape)
            if step == "add":
                x = x + net.constants[: shape[-1]]
            elif step == "mul":
                x = x * x
            elif step == "swap":
                x = x.transpose(0, -1)
            else:
                x = getattr(torch, step)(x)
        return x.clone()

    rewrite("sink_views", Net(forward, constants=noise(12)), noise(12))
