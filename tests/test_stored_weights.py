"""A graph with its weights as an fp16 artifact stores them."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekit import metrics, reference_inputs, stored_weights
from edgekit.program import capture


class _Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.register_buffer("mask", torch.tensor([0.0, -1e30]))
        self.register_buffer("count", torch.tensor([3, 4]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) * 0.1 + self.mask + self.count


def test_weights_and_numbers_are_rounded_and_what_fp16_cannot_hold_stays() -> None:
    torch.manual_seed(0)
    module = _Scaled()
    x = torch.randn(1, 3)
    forward = capture(module, {"x": x}).functions["forward"]
    graph = forward.graph_module
    before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
    (rounded,) = replace(forward, graph_module=stored_weights.rounded(graph)).run({"x": x}).values()
    weight, bias = (tensor.half().float() for tensor in (module.fc.weight, module.fc.bias))
    expected = (x @ weight.T + bias) * float(np.float16(0.1)) + module.mask + module.count
    torch.testing.assert_close(rounded, expected, rtol=1e-6, atol=1e-7)
    assert all(torch.equal(tensor, before[name]) for name, tensor in graph.state_dict().items())


def test_a_rewrite_that_is_not_exact_still_shows(tmp_path: Path) -> None:
    """The conversion's reference is the eager model with rounded weights, not the rewritten graph itself."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    captured = capture(copy.deepcopy(module), {"x": torch.randn(1, 3)}).functions["forward"]
    exact = replace(captured, graph_module=stored_weights.rounded(captured.graph_module))
    with torch.no_grad():
        for parameter in captured.graph_module.parameters():
            parameter.mul_(1.01)
    inexact = replace(captured, graph_module=stored_weights.rounded(captured.graph_module))
    reference_inputs.write(module, captured, tmp_path / "reference.npz", stored=inexact)
    arrays = reference_inputs.arrays_of(tmp_path / "reference.npz")
    for inputs, expected in zip(arrays["inputs"], arrays["as_stored"], strict=True):
        x = {"x": torch.from_numpy(inputs["x"])}
        assert metrics.sqnr_db(expected["output"], inexact.run(x)["output"].numpy()) < 45
        assert metrics.sqnr_db(expected["output"], exact.run(x)["output"].numpy()) > 60
