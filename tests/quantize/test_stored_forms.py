"""Weights as integers: how far they are from what they stand for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from quantizing import Net, ask, calls, graph_of, noise, quantized
from torch import Tensor, nn

from edgekit.quantize import sites


def _integers_and_scales(net: nn.Module, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """What one layer's weight is stored as, what comes of it, and the axis of its scales."""
    program = quantized(ask(net, *inputs))
    (node,) = calls(program, "dequantize_per_channel")
    graph_module = graph_of(program)
    integers, scales, zeros = (graph_module.get_buffer(str(part.target)) for part in node.all_input_nodes)
    assert integers.dtype == torch.int8
    assert scales.dtype == torch.float32
    assert not zeros.any()
    return integers, scales, node.target(integers, scales, zeros, *node.args[3:]), int(node.args[3])


@given(
    outputs=st.integers(1, 5),
    inputs=st.integers(1, 4),
    kernel=st.sampled_from([1, 3]),
    magnitude=st.floats(-30, 30),
    seed=st.integers(0, 99),
)
def test_every_weight_is_within_half_a_step_of_its_channel(
    outputs: int, inputs: int, kernel: int, magnitude: float, seed: int
) -> None:
    conv = nn.Conv2d(inputs, outputs, kernel)
    weight = noise(outputs, inputs, kernel, kernel, seed=seed) * 10**magnitude
    conv.weight = nn.Parameter(weight)
    integers, scales, restored, axis = _integers_and_scales(Net(lambda net, x: net.conv(x), conv=conv), noise(1, inputs, 4, 4))
    assert axis == 0
    assert int(integers.abs().max()) == 127
    steps = scales.view(-1, 1, 1, 1)
    assert bool(((restored - weight).abs() <= steps / 2 * 1.00001).all())
    assert torch.allclose(scales * 127, weight.abs().amax((1, 2, 3)))


def test_a_channel_of_zeros_stays_zero_and_so_does_one_next_to_it() -> None:
    fc = nn.Linear(3, 3)
    fc.weight = nn.Parameter(torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [1e-44, -1e-42, 0.0]]))
    integers, scales, restored, _ = _integers_and_scales(Net(lambda net, x: net.fc(x), fc=fc), noise(2, 3))
    assert bool(scales.isfinite().all())
    assert not integers[0].any()
    assert not restored[[0, 2]].any()


def test_a_product_s_constant_has_a_scale_for_each_of_its_last_axis() -> None:
    net = Net(lambda net, x: x @ net.w, w=noise(6, 4) * torch.tensor([1.0, 10.0, 100.0, 1000.0]))
    _, scales, restored, axis = _integers_and_scales(net, noise(2, 6))
    assert (axis, list(scales.shape)) == (1, [4])
    assert bool(((restored - net.w).abs() <= scales / 2 * 1.00001).all())


@pytest.mark.parametrize(
    ("layer", "output_axis"), [(nn.ConvTranspose2d(2, 3, 2), 1), (nn.Conv1d(2, 3, 2), 0), (nn.Linear(5, 4), 0)]
)
def test_sites_know_their_weight_s_axes(layer: nn.Module, output_axis: int) -> None:
    shapes = {nn.ConvTranspose2d: (1, 2, 4, 4), nn.Conv1d: (1, 2, 6), nn.Linear: (1, 5)}
    request = ask(Net(lambda net, x: net.layer(x).tanh(), layer=layer), noise(*shapes[type(layer)]))
    first, tanh = request.sites
    assert first.weight is not None
    assert (first.weight.output_axis, first.weight.input_axis) == (output_axis, 1 - output_axis)
    assert first.module == "layer"
    assert [node.op for node in first.activations] == ["placeholder"]
    assert tanh.weight is None
    assert tanh.operator == "tanh"


def test_sites_are_the_operators_that_compute_and_moves_are_none() -> None:
    net = Net(lambda net, x: (net.fc(x.reshape(2, 4)) @ net.fc(x.reshape(2, 4)).T).argmax(1), fc=nn.Linear(4, 4))
    request = ask(net, noise(2, 2, 2))
    assert [site.operator for site in request.sites] == ["linear", "linear", "matmul"]
    assert request.sites[2].weight is None  # computed
    assert len(request.sites[2].activations) == 2


def test_the_fingerprint_is_of_the_structure_not_of_the_weights() -> None:
    def found(width: int, seed: int) -> str:
        torch.manual_seed(seed)
        return sites.fingerprint(ask(Net(lambda net, x: net.fc(x), fc=nn.Linear(4, width)), noise(2, 4)).program)

    assert found(3, 0) == found(3, 1) != found(4, 0)
