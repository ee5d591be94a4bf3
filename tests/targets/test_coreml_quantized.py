"""Quantized graphs as Core ML packages: they compute what PyTorch computes with the same integers, and are as small as that."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgekit
from edgekit import bisection, metrics, passes, profiles, quantize, stored_weights
from edgekit.program import Program, capture
from edgekit.quantize.asking import Request
from edgekit.quiet import quiet
from edgekit.recipe import Quantize, Recipe
from edgekit.runtimes import coreml_reference
from edgekit.runtimes.coreml_reference import package
from edgekit.targets import coreml

pytestmark = pytest.mark.slow

Made = Callable[..., tuple[Path, Program]]


class Residual(nn.Module):
    """A stem with a rectifier, a depthwise and a pointwise convolution beside what they read, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1)
        self.depthwise = nn.Conv2d(64, 64, 3, padding=1, groups=64)
        self.pointwise = nn.Conv2d(64, 64, 1)
        self.fc = nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).relu()
        y = y + self.pointwise(torch.nn.functional.silu(self.depthwise(y)))
        return self.fc(y.mean((2, 3)))


IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    @functools.cache
    def make(scheme: str, device: str = "iphone", precision: str = "fp32") -> tuple[Path, Program]:
        torch.manual_seed(0)
        profile = profiles.for_target(profiles.load(device), "coreml")
        program = capture(Residual().eval(), {"x": IMAGE})
        program.precision = precision
        assert profile.integers is not None
        with quiet():
            passes.run(program, profile)
            asked = Request(program, profile.integers, Quantize(scheme=scheme), [{"x": IMAGE}], "residual")
            program = quantize.apply(asked, quantize.make_plan(asked))
            (path,) = coreml.lower(program, profile, tmp_path_factory.mktemp("made"))
        return path, program

    return make


def _operators(path: Path) -> Counter[str]:
    return Counter(operation.operator for operation in package.load(path).body.operations)


def _stored_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("weight.bin"))


def _sqnr_db(path: Path, program: Program) -> float:
    """How near the package, computed in fp32, is to the quantized graph with the scales and biases that are stored."""
    graph_module = program.functions["forward"].graph_module
    stored = stored_weights.rounded(graph_module) if program.precision == "fp16" else graph_module
    with torch.no_grad():
        expected = stored(IMAGE)[0].numpy()
    (found,) = coreml_reference.open(path, mode="fp32").run({"x": IMAGE.numpy()}).values()
    return metrics.sqnr_db(expected, found)


_WEIGHTS = {"stem": 64 * 27, "depthwise": 64 * 9, "pointwise": 64 * 64, "fc": 64 * 32}
_OTHERS_BYTES = 4 * (64 * 3 + 32) + 128 * 16
"""Biases in fp32, and of each constant its header and what aligns it."""


@pytest.mark.parametrize(
    ("scheme", "device", "operator", "bits"),
    [
        ("int8-weight", "iphone", "constexpr_affine_dequantize", 8),
        ("int8-weight", "iphone-16-pro", "constexpr_blockwise_shift_scale", 8),
        ("palettize-4", "iphone", "constexpr_lut_to_dense", 4),
        ("palettize-2", "iphone-16-pro", "constexpr_lut_to_dense", 2),
        ("palettize-3", "iphone-16-pro", "constexpr_lut_to_dense", 3),
    ],
)
def test_weights_of_few_bits_are_stored_as_such(made: Made, scheme: str, device: str, operator: str, bits: int) -> None:
    path, program = made(scheme, device)
    assert _operators(path)[operator] == len(_WEIGHTS)
    kind = f"{'uint' if 'palettize' in scheme else 'int'}{bits} ({operator.removeprefix('constexpr_')})"
    weights = {weight.name: weight.dtype for weight in edgekit.inspect(path).weights}
    compressed = {name: dtype for name, dtype in weights.items() if not name.endswith("_bias")}
    assert len(compressed) == len(_WEIGHTS)
    assert set(compressed.values()) == {kind}
    assert all(name.startswith(tuple(f"{layer}_weight" for layer in _WEIGHTS)) for name in compressed)
    assert _sqnr_db(path, program) > 120
    tables_bytes = 4 * 2**bits * len(_WEIGHTS) if "palettize" in scheme else 5 * (64 * 3 + 32)
    assert _stored_bytes(path) < sum(_WEIGHTS.values()) * bits / 8 + tables_bytes + _OTHERS_BYTES


def test_four_bits_in_groups_reach_a_pointwise_convolution(made: Made) -> None:
    path, program = made("int4-weight", "iphone-16-pro")
    report = edgekit.inspect(path)
    found = {weight.name: weight.dtype for weight in report.weights}
    assert found["pointwise_weight_int4"] == found["fc_weight_int4"] == "int4 (blockwise_shift_scale)"
    loaded = package.load(path)
    shapes = {
        declared.shape
        for operation in loaded.body.operations
        if operation.operator == "constexpr_blockwise_shift_scale"
        for _, declared in operation.outputs
    }
    assert shapes == {(64, 64, 1, 1), (32, 64), (64, 3, 3, 3), (64, 1, 3, 3)}, "the last two in eight bits"
    assert _sqnr_db(path, program) > 120


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_integers_cross_where_the_graph_says(made: Made, precision: str) -> None:
    path, program = made("int8", precision=precision)
    found = _operators(path)
    assert found["constexpr_affine_dequantize"] == len(_WEIGHTS)
    called = [str(node.target) for node in program.functions["forward"].graph_module.graph.nodes]
    # The image; after the stem, depthwise, pointwise, sum, mean, its reshape and the classifier.
    assert called.count("quantized_decomposed.quantize_per_tensor.default") == 8
    assert found["quantize"] == 7  # coremltools reshapes the integers themselves
    assert found["dequantize"] == 7  # one for all who read it: coremltools merges what is equal
    assert _sqnr_db(path, program) > (120 if precision == "fp32" else 60)


def test_scales_are_numbers_of_half_precision_before_integers_are_found(made: Made) -> None:
    _, program = made("int8", precision="fp16")
    graph_module = program.functions["forward"].graph_module
    scales = [tensor for name, tensor in graph_module.named_buffers() if name.endswith("_scales")]
    assert len(scales) == len(_WEIGHTS)
    for tensor in scales:
        assert torch.equal(tensor, tensor.half().float())
    for node in graph_module.graph.nodes:
        if "quantize_per_tensor" in str(node.target):
            assert node.args[1] == float(np.float16(node.args[1]))


@pytest.mark.skipif(sys.platform == "darwin", reason="there Core ML itself opens packages")
def test_half_precision_computes_nearly_the_same(made: Made) -> None:
    path, program = made("int8", precision="fp16")
    with torch.no_grad():
        expected = program.functions["forward"].graph_module(IMAGE)[0].numpy()
    (found,) = coreml_reference.open(path).run({"x": IMAGE.numpy()}).values()
    assert metrics.sqnr_db(expected, found) > 30


def test_no_operator_departs_from_the_quantized_graph(made: Made) -> None:
    path, program = made("int8")
    with quiet():
        pair = bisection._Pair(program, path, Recipe(model="residual", target="coreml", precision="fp32"))
        conversion, _ = pair.compare({"x": IMAGE.numpy()})
    assert conversion.culprit is None
    operators = {
        operation.operator for operation in pair.function.body.operations if operation.outputs[0][0] in pair.counterparts
    }
    assert {"conv", "relu", "silu", "dequantize", "linear"} <= operators
