"""Einsums that map channels by constant weights become 1x1 convolutions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, noise, rewrite
from torch import Tensor


def _einsum(equation: str, weight: Tensor) -> Net:
    return Net(lambda net, x: torch.einsum(equation, x, net.weight), weight=weight)


def test_case_1_block_diagonal_is_a_grouped_convolution() -> None:
    done = rewrite("einsum_to_conv", _einsum("bkihw,kio->bkohw", noise(4, 3, 5)), noise(2, 4, 3, 6, 5))
    assert done.changed == 1
    assert done.calls == ["reshape", "conv2d", "reshape"]


def test_case_2_dense_is_a_convolution_of_one_group() -> None:
    done = rewrite("einsum_to_conv", _einsum("bchw,cd->bdhw", noise(3, 5)), noise(2, 3, 6, 5))
    assert done.calls == ["reshape", "conv2d", "reshape"]


@pytest.mark.parametrize(
    ("equation", "weight", "x", "reason"),
    [
        ("bihw,io->bhwo", (3, 5), (2, 3, 4, 4), "in another order"),
        ("bhwi,io->bhwo", (3, 5), (2, 4, 4, 3), "do not stand behind the batch axis"),
        ("bikhw,kio->bokhw", (4, 3, 5), (2, 3, 4, 6, 5), "do not stand behind the batch axis"),
        ("bihw,jk->bjk", (3, 5), (2, 3, 4, 4), "it is no map of channels"),
        ("bijk,ijo->bok", (3, 4, 5), (2, 3, 4, 2), "it is no map of channels"),
        ("bi,io->bo", (3, 5), (2, 3), "no or too many axes of positions"),
        ("biihw,io->bohw", (3, 5), (2, 3, 3, 4, 4), "an axis is taken twice"),
    ],
)
def test_other_einsums_are_refused(equation: str, weight: tuple[int, ...], x: tuple[int, ...], reason: str) -> None:
    rewrite("einsum_to_conv", _einsum(equation, noise(*weight)), noise(*x)).assert_refused(reason)


def test_an_einsum_of_two_activations_stays() -> None:
    done = rewrite("einsum_to_conv", Net(lambda net, x, y: torch.einsum("bij,bjk->bik", x, y)), noise(2, 3, 4), noise(2, 4, 5))
    assert (done.changed, done.reasons) == (0, [])


@given(st.data())
def test_random_maps_keep_their_outputs(data: st.DataObject) -> None:
    sizes = {letter: data.draw(st.integers(1, 4)) for letter in "bkiohw"}
    blocks = data.draw(st.sampled_from(["", "k"]))
    positions = data.draw(st.sampled_from(["h", "hw"]))
    weight = data.draw(st.permutations(blocks + "io"))
    equation = f"b{blocks}i{positions},{''.join(weight)}->b{blocks}o{positions}"
    net = _einsum(equation, noise(*(sizes[letter] for letter in weight)))
    done = rewrite("einsum_to_conv", net, noise(*(sizes[letter] for letter in f"b{blocks}i{positions}")))
    assert done.changed == 1
