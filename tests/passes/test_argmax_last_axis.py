"""Argmax is taken over the last axis of its operand transposed."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, noise, rewrite

LAST = NO_LIMITS.model_copy(update={"argmax": "last_axis"})


def test_the_operand_is_transposed_and_the_axis_kept() -> None:
    net = Net(lambda net, x: x.gather(1, x.argmax(1, keepdim=True)))
    done = rewrite("argmax_last_axis", net, noise(2, 5, 3, 4), profile=LAST)
    assert done.changed == 1
    assert done.calls == ["permute", "reshape", "argmax", "reshape", "gather"]


def test_the_last_axis_all_of_them_and_other_runtimes_are_left() -> None:
    for net, profile in (
        (Net(lambda net, x: x.argmax(-1)), LAST),
        (Net(lambda net, x: x.argmax()), LAST),
        (Net(lambda net, x: x.argmax(1)), NO_LIMITS),
    ):
        done = rewrite("argmax_last_axis", net, noise(2, 5, 3, 4), profile=profile)
        assert (done.changed, done.graph) == (0, done.graph_before)


@given(st.data())
def test_the_first_of_equal_values_is_found(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axis, kept = data.draw(st.integers(-len(sizes), len(sizes) - 1)), data.draw(st.booleans())
    values = torch.randint(0, 3, sizes, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99)))).double()
    rewrite("argmax_last_axis", Net(lambda net, x: x.argmax(axis, keepdim=kept)), values, profile=LAST)
