"""Gathers at one index whose results are multiplied become one from the product."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, noise, rewrite
from torch import Tensor

IMAGE = (2, 4, 3, 3)


def test_the_product_of_gathers_becomes_a_gather_from_the_product() -> None:
    def forward(net: Net, x: Tensor, y: Tensor) -> Tensor:
        index = x.argmax(1, keepdim=True)
        return x * y + x.gather(1, index) * y.gather(1, index)

    done = rewrite("join_gathers", Net(forward), noise(*IMAGE), noise(*IMAGE, seed=2))
    assert done.changed == 1
    assert done.calls == ["argmax", "mul", "gather", "add"]


def test_a_product_that_comes_later_serves_too() -> None:
    def forward(net: Net, x: Tensor, y: Tensor) -> Tensor:
        index = x.argmax(1, keepdim=True)
        strongest = x.gather(1, index) * y.gather(1, index)
        return strongest.expand(*IMAGE) - y * x

    done = rewrite("join_gathers", Net(forward), noise(*IMAGE), noise(*IMAGE, seed=2))
    assert done.changed == 1


def _without_product(net: Net, x: Tensor, y: Tensor) -> Tensor:
    index = x.argmax(1, keepdim=True)
    return x.gather(1, index) * y.gather(1, index)


def _other_index(net: Net, x: Tensor, y: Tensor) -> Tensor:
    return x * y + x.gather(1, x.argmax(1, keepdim=True)) * y.gather(1, y.argmax(1, keepdim=True))


def _used_alone(net: Net, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    index = x.argmax(1, keepdim=True)
    strongest = x.gather(1, index)
    return x * y + strongest * y.gather(1, index), strongest


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (_without_product, "nothing else needs the product"),
        (_other_index, "not at one index"),
        (_used_alone, "used elsewhere too"),
    ],
)
def test_what_would_cost_a_gather_or_a_product_more_is_refused(forward: Callable[..., object], reason: str) -> None:
    rewrite("join_gathers", Net(forward), noise(*IMAGE), noise(*IMAGE, seed=2)).assert_refused(reason)


@given(st.data())
def test_random_gathers_keep_their_outputs(data: st.DataObject) -> None:
    dim, first = data.draw(st.integers(-4, 3)), data.draw(st.booleans())
    scores = data.draw(st.integers(0, 2))

    def forward(net: Net, x: Tensor, y: Tensor) -> Tensor:
        index = (x, y, x * y)[scores].argmax(dim, keepdim=True)
        gathers = x.gather(dim, index), y.gather(dim, index)
        strongest = gathers[0] * gathers[1] if first else gathers[1] * gathers[0]
        return x * y + strongest

    assert rewrite("join_gathers", Net(forward), noise(*IMAGE), noise(*IMAGE, seed=2)).changed == 1
