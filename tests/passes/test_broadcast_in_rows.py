"""A value a channel is repeated along a row of the map that it meets."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, Rewritten, noise, rewrite
from torch import Tensor

from edgekit.passes._graph import aten, calls, shape

ROWS = NO_LIMITS.model_copy(update={"broadcast": "rows"})


def _rewritten(net: Net, *inputs: Tensor) -> Rewritten:
    return rewrite("broadcast_in_rows", net.double(), *inputs, profile=ROWS)


def test_a_gate_is_repeated_once_for_all_that_read_it() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        gate = x.mean((2, 3), keepdim=True)
        return (x * gate + gate) * x.relu()

    done = _rewritten(Net(forward), noise(2, 5, 6, 14))
    assert done.changed == 2
    (repeated,) = calls(done.program.functions["forward"].graph_module, aten.repeat.default)
    assert shape(repeated) == (2, 5, 1, 14)


def test_small_maps_constants_and_other_broadcasts_stay() -> None:
    gated = Net(lambda net, x: x * x.mean((2, 3), keepdim=True))
    _rewritten(gated, noise(2, 5, 14, 13)).assert_refused("a map of 14x13 is too small")
    _rewritten(gated, noise(2, 5, 1, 20)).assert_refused("a map of 1x20 is too small")
    for other in ((5, 1, 1), (1, 5, 1, 1), (1, 1, 6, 14), (6, 14), (1,), (2, 5, 6, 1), (2, 1, 1, 1)):
        done = _rewritten(Net(lambda net, x: x * net.other, other=noise(*other)), noise(2, 5, 6, 14))
        assert (done.changed, done.reasons, done.graph) == (0, [], done.graph_before)


def test_without_being_asked_for_nothing_is_repeated() -> None:
    net = Net(lambda net, x: x * x.mean((2, 3), keepdim=True))
    assert rewrite("broadcast_in_rows", net.double(), noise(1, 5, 14, 14)).changed == 0


@given(st.integers(1, 2), st.integers(1, 6), st.integers(1, 8), st.integers(12, 17), st.booleans())
def test_random_maps_keep_their_outputs(batch: int, channels: int, height: int, width: int, adds: bool) -> None:
    net = Net(lambda net, x, gate: torch.sigmoid(x) + gate if adds else gate * torch.sigmoid(x))
    _rewritten(net, noise(batch, channels, height, width), noise(batch, channels, 1, 1))
