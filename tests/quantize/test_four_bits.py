"""What weights of few bits keep of the weights they stand for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quantizing import INTEGERS, Net, ask, graph_of, noise, quantized, run
from torch import Tensor, nn

from edgekit import metrics
from edgekit.errors import UsageError
from edgekit.passes._graph import calls
from edgekit.program import Program
from edgekit.quantize import groups, observe, sites, weights
from edgekit.quantize.plan import WeightFormat


def _stored(weight: Tensor, form: WeightFormat, kind: str = "linear") -> tuple[Tensor, Program]:
    """The weight as a graph's layer then reads it, and the graph."""
    outputs, inputs = weight.shape[:2]
    layer = nn.Linear(inputs, outputs) if kind == "linear" else nn.Conv2d(inputs, outputs, 1)
    layer.weight.data = weight.reshape(layer.weight.shape)
    program = ask(layer, torch.zeros(1, inputs) if kind == "linear" else torch.zeros(1, inputs, 2, 2)).program
    graph_module = graph_of(program)
    (site,) = sites.find(graph_module)
    assert site.weight is not None
    node = weights.stored(graph_module, site.node, site.weight, form, INTEGERS)
    site.node.replace_input_with(site.weight.node, node)
    graph_module.graph.output_node().args = ((node,),)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return graph_module(torch.empty(0))[0].reshape(weight.shape), program


@pytest.mark.parametrize("kind", ["linear", "convolution"])
@given(seed=st.integers(0, 2**16), spread=st.floats(1e-3, 1e3))
@settings(max_examples=10, deadline=None)
def test_four_bits_in_groups_are_never_off_by_more_than_a_step(kind: str, seed: int, spread: float) -> None:
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(seed)) * spread
    kept, _ = _stored(weight, WeightFormat(kind="int4", group=32), kind)
    step = weight.unflatten(1, (-1, 32)).abs().amax(2) / 7
    off = (kept - weight).unflatten(1, (-1, 32)).abs().amax(2)
    assert (off <= 2.5 * step).all()  # what the range leaves out for the sake of the rest
    assert metrics.sqnr_db(weight.numpy(), kept.numpy()) > 18


def test_a_zero_point_keeps_weights_of_one_sign_better() -> None:
    weight = torch.rand(4, 64) + 1
    symmetric, _ = _stored(weight, WeightFormat(kind="int4", group=32))
    asymmetric, _ = _stored(weight, WeightFormat(kind="uint4", group=32))
    assert metrics.sqnr_db(weight.numpy(), asymmetric.numpy()) > metrics.sqnr_db(weight.numpy(), symmetric.numpy()) + 3


def test_the_scales_of_groups_are_those_that_bfloat16_holds() -> None:
    _, program = _stored(torch.randn(4, 64), WeightFormat(kind="int4", group=32))
    graph_module = graph_of(program)
    (node,) = calls(graph_module, torch.ops.torchao.dequantize_affine.default)
    scales = graph_module.get_buffer(str(node.args[2].target))
    assert scales.dtype is torch.float32
    assert torch.equal(scales, scales.bfloat16().float())


def test_a_group_of_zeros_stays_zeros() -> None:
    weight = torch.cat([torch.zeros(4, 32), torch.randn(4, 32)], 1)
    kept, _ = _stored(weight, WeightFormat(kind="int4", group=32))
    assert not kept[:, :32].any()


def test_groups_that_do_not_divide_the_input_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="does not fall into groups of 32") as caught:
        _stored(torch.randn(4, 48), WeightFormat(kind="int4", group=32))
    assert "48 input channels" in str(caught.value)


def _varying_together(count: int, channels: int) -> Tensor:
    """[count, channels] of a few common causes, about a mean that is not zero."""
    return noise(count, channels // 8) @ noise(channels // 8, channels, seed=2) + 0.1 * noise(count, channels, seed=3) + 1


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_rounding_changes_of_outputs_is_made_good(symmetric: bool) -> None:
    weight, inputs = noise(16, 64), _varying_together(500, 64)

    def error_power(covariance: Tensor | None) -> float:
        parts = groups.of_four_bits(weight, 1, 32, lambda scales: scales, symmetric=symmetric, covariance=covariance)
        integers, scales, zeros = (parts[name].float().unflatten(1, (2, -1)) for name in ("int4", "scales", "zeros"))
        assert integers.abs().max() <= 8
        error = ((integers - zeros) * scales).flatten(1) - weight
        return float((inputs - inputs.mean(0)).matmul(error.T).square().mean())

    assert error_power(inputs.T.cov().double()) < 0.5 * error_power(None)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_a_layer_keeps_more_of_its_outputs_with_samples_than_without(kind: str) -> None:
    rows = _varying_together(288, 64)
    layer: nn.Module = nn.Linear(64, 16) if kind == "linear" else nn.Conv2d(64, 16, 1)
    given = rows if kind == "linear" else rows.reshape(2, 12, 12, 64).permute(0, 3, 1, 2)
    support = INTEGERS.model_copy(update={"weights": {"int4": ("linear", "conv2d")}})
    net = Net(lambda net, x: net.layer(x), layer=layer)
    found = []
    for sampled in (True, False):
        request = ask(net, given, support=support, scheme="int4-weight")
        if not sampled:
            request.samples = []
        (made,) = run(quantized(request), given)
        found.append(metrics.sqnr_db(net(given).detach().numpy(), made.numpy()))
    assert found[0] > found[1] + 3


def test_channels_of_which_samples_tell_nothing_are_rounded_as_they_are() -> None:
    weight = noise(4, 32)
    plain, dead = (
        groups.of_four_bits(weight, 1, 32, lambda scales: scales, symmetric=True, covariance=covariance)
        for covariance in (None, torch.zeros(32, 32, dtype=torch.float64))
    )
    assert torch.equal(plain["int4"], dead["int4"])


def test_covariances_are_those_over_all_samples_and_places() -> None:
    request = ask(nn.Conv2d(8, 4, 1), noise(2, 8, 3, 5))
    samples = [{"x0": noise(2, 8, 3, 5, seed=seed) + seed} for seed in range(3)]
    (site,) = request.sites
    found = observe.covariances(request.program.functions["forward"], {site.source: 1}, samples)[site.source]
    rows = torch.cat([sample["x0"].movedim(1, 0).flatten(1) for sample in samples], 1)
    torch.testing.assert_close(found, rows.double().cov(correction=0))
