"""What tensors were over the calibration samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quantizing import Net, noise
from torch import Tensor, nn

from edgekit.errors import InputError
from edgekit.program import Function, capture
from edgekit.quantize import observe
from edgekit.quantize.ranges import BINS


def _function(net: nn.Module, **inputs: Tensor) -> Function:
    return capture(net, inputs).functions["forward"]


def test_a_histogram_is_numpy_s_over_all_samples() -> None:
    function = _function(Net(lambda net, x: x * 2 + 1), x=noise(4, 8))
    (result,) = function.graph_module.graph.output_node().all_input_nodes
    samples = [{"x": noise(4, 8, seed=seed)} for seed in range(5)]
    seen = observe.histograms(function, [result], samples)[result]
    values = np.concatenate([sample["x"].numpy().ravel() * 2 + 1 for sample in samples])
    assert (seen.low, seen.high) == (values.min(), values.max())
    expected, _ = np.histogram(values, BINS, (seen.low, seen.high))
    assert seen.counts.sum() == values.size
    # A value next to an edge may fall to either side of it in float32.
    assert np.abs(np.cumsum(seen.counts) - np.cumsum(expected)).max() <= 1


@pytest.mark.parametrize("value", [0.0, 3.0, -1e7])
def test_a_tensor_of_one_value_is_in_one_bin(value: float) -> None:
    function = _function(Net(lambda net, x: x * 0 + value), x=noise(4))
    (result,) = function.graph_module.graph.output_node().all_input_nodes
    seen = observe.histograms(function, [result], [{"x": noise(4)}])[result]
    assert (seen.low, seen.high, seen.counts.max()) == (value, value, 4)


def test_a_value_that_is_not_finite_is_named_with_its_module() -> None:
    net = Net(lambda net, x: net.log(x) + 1, log=Net(lambda net, x: x.log()))
    function = _function(net, x=torch.ones(3))
    node = next(node for node in function.graph_module.graph.nodes if node.name == "log")
    with pytest.raises(InputError) as raised:
        observe.histograms(function, [node], [{"x": torch.ones(3)}, {"x": -torch.ones(3)}])
    assert "not finite" in raised.value.what
    assert "log (log)" in raised.value.cause


def test_samples_go_to_the_inputs_of_their_names_whatever_their_order() -> None:
    function = _function(Net(lambda net, a, b: a - b), a=torch.ones(2), b=torch.zeros(2))
    (result,) = function.graph_module.graph.output_node().all_input_nodes
    first, second = function.example_inputs
    seen = observe.histograms(function, [result], [{second: torch.full((2,), 3.0), first: torch.full((2,), 5.0)}])[result]
    assert (seen.low, seen.high) == (2.0, 2.0)


class _Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return x * self.count


def test_state_that_the_graph_writes_stays_as_it_was() -> None:
    function = _function(_Counting(), x=torch.ones(2))
    node = next(node for node in function.graph_module.graph.nodes if node.name.startswith("mul"))
    seen = observe.histograms(function, [node], [{"x": torch.ones(2)}])[node]
    assert (seen.low, seen.high) == (1.0, 1.0)  # in both runs of the sample
    assert all(float(buffer.sum()) == 0 for buffer in function.graph_module.buffers())
