"""SiLU becomes a product with a sigmoid, where a runtime wants that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rewriting import noise, rewrite
from torch import nn

from edgekit import profiles

OWN = profiles.for_target(profiles.load("host"), "executorch")
PRODUCT = OWN.model_copy(update={"silu": "product"})


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 99))
def test_it_gives_the_same_numbers(shape: list[int], seed: int) -> None:
    done = rewrite("lower_silu", nn.Sequential(nn.SiLU(), nn.SiLU()), 9 * noise(*shape, seed=seed), profile=PRODUCT)
    assert done.changed == 2
    assert sorted(done.calls) == ["mul", "mul", "sigmoid", "sigmoid"]


def test_it_stays_where_the_runtime_has_it() -> None:
    assert rewrite("lower_silu", nn.SiLU(), noise(2, 5), profile=OWN).calls == ["silu"]


def test_other_activations_stay() -> None:
    assert rewrite("lower_silu", nn.Hardswish(), noise(2, 5), profile=PRODUCT).changed == 0


def test_a_graph_of_integers_wants_it_in_xnnpack() -> None:
    assert OWN.integers is not None
    assert OWN.integers.instead["silu"] == "product"
