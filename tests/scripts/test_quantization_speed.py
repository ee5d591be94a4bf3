"""The rival of edgekit's int8 is quantized indeed, and computes the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import quantization_speed
import torch
from quantization_speed import Refusal, Subject

import edgekit
from edgekit import metrics, models
from edgekit.artifact import Artifact
from edgekit.profiling.measurement import OperatorTime

pytestmark = pytest.mark.slow

_MODULE = """
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(16 * 16, 10))
"""


def test_the_runtime_s_own_quantizer_makes_a_rival(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(_MODULE)
    original = edgekit.export(f"{tmp_path}/small.py:make", "onnx", input_shapes=[(1, 3, 8, 8)], output=tmp_path / "made")
    random = np.random.default_rng(0)
    (name,) = (tensor.name for tensor in original.manifest.inputs)
    samples = [{name: random.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(8)]
    file = quantization_speed.by_runtime(original, samples, tmp_path)
    assert [node.op_type for node in onnx.load(file).graph.node].count("QuantizeLinear") >= 4
    expected, found = (quantization_speed.outputs(path, samples) for path in (original.model_file, file))
    assert expected.shape == (8, 10)
    assert 20 < metrics.sqnr_db(expected, found) < 80


def test_what_mixed_refuses_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.py").write_text(_MODULE)
    samples = np.random.default_rng(0).standard_normal((8, 3, 8, 8), dtype=np.float32)
    np.savez(tmp_path / "samples.npz", input=samples)
    export = edgekit.export

    def small(_model: str, target: str, *, output: Path, quantize: Any = None, **_: Any) -> Artifact:
        made = output / (quantize or {}).get("scheme", "original")
        return export(f"{tmp_path}/small.py:make", target, input_shapes=[(1, 3, 8, 8)], output=made, quantize=quantize)

    monkeypatch.setattr(edgekit, "export", small)
    monkeypatch.setattr(quantization_speed, "LEAST_SQNR_DB", 400.0)
    found = list(quantization_speed.subjects("lsnet_t", None, tmp_path / "samples.npz", tmp_path))
    assert [type(one) for one in found] == [Subject, Subject, Refusal, Subject]
    told = f"- {found[2]}"
    assert "lsnet_t, seeded, edgekit mixed" in told
    assert "reaches 400 dB: quantizing " in told
    lines = quantization_speed.report(["a | b"], [told], [], "the command").splitlines()
    assert lines.index(told) == lines.index("Refused, with nothing written:") + 2 > lines.index("| a | b |")
    assert "Refused" not in quantization_speed.report(["a | b"], [], [], "the command")


def test_the_noisiest_photographs_are_told() -> None:
    expected = np.ones((5, 100))
    found = expected + np.array([1e-3, 1e-2, 0.1, 1e-2, 1e-3])[:, None]
    assert quantization_speed.by_photograph(expected, found) == (
        "3 photographs (20.0, 40.0, 40.0 dB) have 100 % of the noise, the median has 40.0 dB"
    )


def test_weights_of_another_input_size_fit_a_model_s_own(tmp_path: Path) -> None:
    variant = models.find("lsnet_t")
    small, own = (models.build(variant.at_size(size)) for size in (128, 224))
    state = small.state_dict()
    (name,) = (name for name in state if name.endswith("blocks4.3.mixer.m.attention_biases"))
    state[name] = torch.arange(4.0).expand(state[name].shape)
    torch.save({"model": state, "input_size": 128}, tmp_path / "weights.pth")
    resized = torch.load(quantization_speed.at_own_size(tmp_path / "weights.pth", "lsnet_t", tmp_path))
    own.load_state_dict(resized)
    # By offset, row by row: two by two become four by four between the same corners.
    rows, columns = torch.meshgrid(torch.arange(4.0) / 3, torch.arange(4.0) / 3, indexing="ij")
    torch.testing.assert_close(resized[name][0].view(4, 4), 2 * rows + columns)


def test_operators_count_to_one_kind_with_integers_and_without() -> None:
    def took(kind: str, time_s: float) -> OperatorTime:
        return OperatorTime(name=kind.lower(), operator=kind, time_s=time_s)

    found = quantization_speed.time_by_kind(
        [
            took("QLinearConv", 3.0),
            took("Conv", 1.0),
            took("QuantizeLinear", 0.5),
            took("DequantizeLinear", 0.25),
            took("Add", 2.0),
        ]
    )
    assert found == {"Conv": 4.0, "conversions": 0.75, "Add": 2.0}
