"""GroupNorm of all channels is taken over the map as channels-last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, noise, randomise, rewrite
from torch import Tensor, nn

LAST = NO_LIMITS.model_copy(update={"group_norm": "channels_last"})


def test_it_reads_the_map_transposed_and_scales_rows_of_it() -> None:
    plain = ["permute", "reshape", "group_norm", "reshape", "permute"]
    for affine, calls in ((False, plain), (True, [*plain[:-1], "mul", "add", "permute"])):
        norm = randomise(nn.GroupNorm(1, 6, affine=affine))
        done = rewrite("norm_channels_last", norm, noise(2, 6, 3, 4), profile=LAST)
        assert (done.changed, done.calls) == (1, calls)


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 6), nn.LayerNorm(4)])
def test_norms_of_some_channels_are_left(norm: nn.Module) -> None:
    done = rewrite("norm_channels_last", randomise(norm), noise(2, 6, 3, 4), profile=LAST)
    assert (done.changed, done.graph) == (0, done.graph_before)


def test_other_runtimes_are_left() -> None:
    assert rewrite("norm_channels_last", randomise(nn.GroupNorm(1, 6)), noise(2, 6, 3, 4)).changed == 0


def test_computed_weights_are_refused() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return nn.functional.group_norm(x, 1, x.mean((0, 2, 3)))

    rewrite("norm_channels_last", Net(forward), noise(2, 6, 3, 4), profile=LAST).assert_refused(
        "its weight or bias is computed"
    )


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(2, 5), st.booleans())
def test_random_maps_keep_their_outputs(batch: int, channels: int, height: int, width: int, affine: bool) -> None:
    norm = randomise(nn.GroupNorm(1, channels, affine=affine, eps=0.1))
    assert rewrite("norm_channels_last", norm, noise(batch, channels, height, width), profile=LAST).changed == 1
