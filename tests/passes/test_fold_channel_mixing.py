"""A linear map of channels folds into the convolution behind it."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, noise, randomise, rewrite
from torch import Tensor, nn

from edgekit.passes._graph import aten, calls

IMAGE = (2, 8, 5, 6)
DEPTHWISE = NO_LIMITS.model_copy(update={"small_groups": "depthwise"})


def test_pairs_turned_as_complex_numbers_fold_into_a_depthwise_convolution() -> None:
    def forward(net: Net, x: Tensor, shared: Tensor) -> Tensor:
        real, imag = net.real, net.imag
        pairs = (x + shared).reshape(2, 4, 2, 5, 6)
        even, odd = pairs[:, :, 0], pairs[:, :, 1]
        return net.conv(torch.stack([even * real - odd * imag, even * imag + odd * real], dim=2).flatten(1, 2))

    net = Net(forward, conv=nn.Conv2d(8, 8, 3, padding=1, groups=8), real=noise(4, 1, 1), imag=noise(4, 1, 1, seed=5))
    inputs = noise(*IMAGE), noise(2, 1, 5, 6, seed=3)
    rewrite("fold_channel_mixing", randomise(net), *inputs).assert_refused("its groups would grow from 1 to 2 channels")
    done = rewrite("fold_channel_mixing", randomise(net), *inputs, profile=DEPTHWISE)
    assert done.changed == 1
    assert done.calls == ["conv2d", "conv2d", "add"]
    pairs, shared = calls(done.program.functions["forward"].graph_module, aten.conv2d.default)
    assert (pairs.args[6], shared.args[6]) == (4, 1)


def test_a_channel_shuffle_folds_into_a_1x1_convolution() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        first, second = x[:, :4], x[:, 4:]
        return net.conv(torch.stack([second, first], dim=2).flatten(1, 2))

    done = rewrite("fold_channel_mixing", randomise(Net(forward, conv=nn.Conv2d(8, 3, 1))), noise(*IMAGE))
    assert done.changed == 1
    assert done.calls == ["conv2d"]


def test_a_sum_that_is_cheaper_than_a_second_convolution_is_refused() -> None:
    def forward(net: Net, x: Tensor, y: Tensor) -> Tensor:
        return net.conv(x + y)

    done = rewrite(
        "fold_channel_mixing", randomise(Net(forward, conv=nn.Conv2d(8, 8, 3))), noise(*IMAGE), noise(*IMAGE, seed=2)
    )
    done.assert_refused("would take longer")


def test_what_is_used_elsewhere_too_stays() -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        scaled = x * net.scale
        return net.conv(scaled), scaled

    net = Net(forward, conv=nn.Conv2d(8, 8, 1), scale=noise(1, 8, 1, 1))
    done = rewrite("fold_channel_mixing", randomise(net), noise(*IMAGE))
    assert (done.changed, done.graph) == (0, done.graph_before)


def test_a_map_that_adds_a_constant_or_moves_pixels_stays() -> None:
    def constant(net: Net, x: Tensor) -> Tensor:
        return net.conv(x + net.shift)

    def pixels(net: Net, x: Tensor) -> Tensor:
        return net.conv(x.flatten(1).reshape(2, 8, 5, 6)[..., 1:] * 2.0)

    for forward in (constant, pixels):
        net = Net(forward, conv=nn.Conv2d(8, 8, 3, padding=1), shift=noise(1, 8, 1, 1))
        done = rewrite("fold_channel_mixing", randomise(net), noise(*IMAGE))
        assert "add" in done.calls or "slice" in done.calls


@given(st.data())
def test_random_maps_keep_their_outputs(data: st.DataObject) -> None:
    steps = data.draw(
        st.lists(st.sampled_from(["scale", "shuffle", "swap", "twice", "one", "negate", "rest"]), min_size=1, max_size=4)
    )
    groups, kernel = data.draw(st.sampled_from([1, 2, 4, 8])), data.draw(st.integers(1, 3))

    def forward(net: Net, x: Tensor, shared: Tensor) -> Tensor:
        for step in steps:
            halves = x[:, :4], x[:, 4:]
            if step == "scale":
                x = x * net.scale
            elif step == "shuffle":
                x = x.unflatten(1, (2, 4)).flatten(1, 2)
            elif step == "swap":
                x = torch.cat([halves[1], halves[0]], 1)
            elif step == "twice":
                x = torch.stack([halves[0] - halves[1], halves[0] * 0.5], 2).flatten(1, 2)
            elif step == "one":
                x = x + shared
            elif step == "negate":
                x = -x
            else:
                x = torch.cat([x[:, 6:], x[:, 2:6], x[:, :2]], 1)
        return net.conv(x)

    conv = nn.Conv2d(8, 8, kernel, padding=1, stride=data.draw(st.integers(1, 2)), groups=groups, bias=data.draw(st.booleans()))
    net = randomise(Net(forward, conv=conv, scale=noise(8, 1, 1)))
    rewrite("fold_channel_mixing", net, noise(*IMAGE), noise(2, 1, 5, 6, seed=3), profile=DEPTHWISE)
