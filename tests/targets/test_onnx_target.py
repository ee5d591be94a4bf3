"""What the ONNX target writes beyond the exporter's translation."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edgekit import metrics, profiles, quantize
from edgekit.program import capture
from edgekit.quantize.asking import Request
from edgekit.quantize.unrounded import unrounded
from edgekit.recipe import Quantize
from edgekit.runtimes import onnxruntime as onnxruntime_session
from edgekit.targets import onnx as target

HOST = profiles.load("host-x86").runtimes["onnx"]


def _lowered(module: nn.Module, directory: Path, profile: profiles.RuntimeProfile) -> onnx.ModelProto:
    """The module quantized and lowered; it gives what its graph gives, with and without rounding."""
    x = torch.randn((1, 16, 8, 8), generator=torch.Generator().manual_seed(0))
    assert profile.integers is not None
    request = Request(capture(module.eval(), {"x": x}), profile.integers, Quantize(scheme="int8"), [{"x": x}], "net")
    program = quantize.apply(request, quantize.make_plan(request))
    (path,) = target.lower(program, profile, directory)
    (expected,) = program.functions["forward"].run({"x": x}).values()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy()})
    step = float(expected.max() - expected.min()) / 255
    assert float(abs(found - expected.numpy()).max()) < 2 * step
    (exact,) = unrounded(program.functions["forward"].graph_module)(x)
    with onnxruntime_session.open_in_fp32(path) as without_rounding:
        assert metrics.sqnr_db(exact.detach().numpy(), without_rounding.execute([x.numpy()])[0]) > 90
    return onnx.load(path)


def _layers(activation: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(16, 32, 1), activation, nn.Conv2d(32, 16, 1), nn.Conv2d(16, 16, 1))


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.GELU()])
def test_silu_of_an_integer_is_one_operator(activation: nn.Module, tmp_path: Path) -> None:
    model = _lowered(_layers(activation), tmp_path, HOST)
    assert [node.op_type for node in model.graph.node if node.domain] == ["QuickGelu"]
    assert not [node for node in model.graph.node if node.op_type in ("Sigmoid", "Mul")]


def test_only_standard_operators_where_the_runtime_has_no_others(tmp_path: Path) -> None:
    model = _lowered(_layers(nn.SiLU()), tmp_path, HOST.model_copy(update={"domains": ()}))
    assert not [node for node in model.graph.node if node.domain]
    assert [entry.domain for entry in model.opset_import if entry.domain == "com.microsoft"] == []


def test_integers_are_computed_by_integer_kernels(tmp_path: Path) -> None:
    """ONNX Runtime finds its integer kernels in the graph: only the last layer is left in floating point."""
    _lowered(_layers(nn.ReLU()), tmp_path, HOST)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 2
    assert "Relu" not in kinds
