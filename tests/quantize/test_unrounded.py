"""The conversion of a quantized model is proved without the rounding that makes it jump."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from quantizing import Net, ask, noise, quantized
from torch import Tensor, nn

import edgekit
from edgekit import artifact, metrics, parity, reference_inputs, runtimes
from edgekit.artifact import Artifact
from edgekit.quantize.unrounded import rounds, unrounded

_SHAPE = (1, 3, 16, 16)


def _net() -> Net:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = torch.relu(net.first(x))
        x = x + net.second(x)
        return net.last(torch.tanh(x).flatten(1))

    torch.manual_seed(0)
    parts = {"first": nn.Conv2d(3, 8, 3, padding=1), "second": nn.Conv2d(8, 8, 1), "last": nn.Linear(8 * 16 * 16, 5)}
    return Net(forward, **parts).eval()


def test_without_rounding_a_graph_keeps_what_lies_within_its_ranges() -> None:
    x = noise(*_SHAPE)
    request = ask(_net(), x)
    graph = quantized(request).functions["forward"].graph_module
    exact = unrounded(graph)
    assert rounds(graph)
    assert not rounds(exact)
    with torch.no_grad():
        plain = request.program.functions["forward"].graph_module
        full, steps, none = (g(x)[0].numpy() for g in (plain, graph, exact))
        assert metrics.sqnr_db(full, none) > metrics.sqnr_db(full, steps)
        beyond, clipped = plain(10 * x)[0], exact(10 * x)[0]
    assert metrics.sqnr_db(beyond.numpy(), clipped.numpy()) < 20, "values beyond the ranges that were seen are cut off"


def test_the_graph_itself_still_rounds() -> None:
    graph = quantized(ask(_net(), noise(*_SHAPE))).functions["forward"].graph_module
    before = str(graph.graph)
    unrounded(graph)
    assert str(graph.graph) == before


@pytest.fixture(scope="module", params=["onnx"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifact]:
    samples = [{"x0": noise(*_SHAPE, seed=seed)} for seed in range(6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgekit.pipeline.COMPARED_S", 0.1)
        output = tmp_path_factory.mktemp("quantized")
        options = {"quantize": "int8", "samples": samples, "output": output, "use_cache": False}
        yield edgekit.export(_Named(_net()), request.param, inputs={"x0": noise(*_SHAPE)}, name="net", **options)


class _Named(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x0: Tensor) -> Tensor:
        found: Tensor = self.net(x0)
        return found


def test_an_artifact_that_rounds_is_converted_to_the_last_bits(made: Artifact) -> None:
    found = made.manifest.parity
    assert found.conversion.sqnr_db is not None
    assert found.precision.sqnr_db is not None
    assert found.conversion.sqnr_db > 90
    assert 20 < found.precision.sqnr_db < 60, "this one rounds"
    assert parity.check(made).conversion == found.conversion


@pytest.mark.parametrize(("place", "change"), [(1, 0.02), (2, 3)], ids=["scale", "zero point"])
@pytest.mark.parametrize("made", ["onnx"], indirect=True)
def test_a_scale_or_a_zero_point_that_is_not_the_graph_s_shows(
    made: Artifact, place: int, change: float, tmp_path: Path
) -> None:
    model = onnx.load(made.model_file)
    rounded = {node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    wrong = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in rounded][1]
    value = next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == wrong.input[place])
    changed = value + np.asarray(change * value if place == 1 else change, value.dtype)
    model.graph.initializer.append(numpy_helper.from_array(changed.astype(value.dtype), "wrong"))
    wrong.input[place] = "wrong"
    file = tmp_path / "wrong.onnx"
    onnx.save(model, str(file))
    judged = parity.runs_of(file, *runtimes.borders(made.manifest), made.directory / artifact.REFERENCE)
    arrays = reference_inputs.arrays_of(made.directory / artifact.REFERENCE)
    assert judged.in_fp32 is not None
    assert parity.compare(arrays["as_stored"], judged.in_fp32, 60.0).passed is False
