"""What weights of few bits keep of the weights they stand for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quantizing import INTEGERS, ask, graph_of
from torch import Tensor, nn

from edgekit import metrics
from edgekit.errors import UsageError
from edgekit.passes._graph import calls
from edgekit.program import Program
from edgekit.quantize import sites, weights
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
