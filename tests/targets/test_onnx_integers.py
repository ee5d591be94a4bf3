"""Weights of few bits, and integers in ranges of each run's own, in ONNX files and in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgekit import data_files, metrics, profiles, quantize
from edgekit.profiles import RuntimeProfile
from edgekit.program import capture
from edgekit.quantize import schemes
from edgekit.quantize.asking import Request
from edgekit.quantize.unrounded import unrounded
from edgekit.recipe import Quantize
from edgekit.runtimes import onnxruntime as onnxruntime_session
from edgekit.targets import onnx as target

HOST = profiles.load("host-x86").runtimes["onnx"]


class _Mixer(nn.Module):
    """A pointwise convolution, a linear of rows with bias, and one of a vector without."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pixels, self.rows, self.vector = nn.Conv2d(64, 128, 1), nn.Linear(128, 128), nn.Linear(128, 96, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.rows(self.pixels(x).flatten(2).transpose(1, 2).relu())
        made: Tensor = self.vector(rows.relu().mean(1))
        return made


def _x(seed: int = 0) -> Tensor:
    return torch.randn((1, 64, 4, 4), generator=torch.Generator().manual_seed(seed))


def _lowered(
    scheme: str, directory: Path, profile: RuntimeProfile = HOST, module: nn.Module | None = None
) -> tuple[Path, float, float]:
    """The mixer's file, or the module's; how near its run without rounding is to its graph without, and its run to eager."""
    module, x = (module or _Mixer()).eval(), _x()
    assert profile.integers is not None
    samples = [{"x": _x(seed)} for seed in range(4)] if schemes.find(scheme)[0].CALIBRATED else []
    request = Request(capture(module, {"x": x}), profile.integers, Quantize(scheme=scheme), samples, "mixer")
    program = quantize.apply(request, quantize.make_plan(request))
    (path,) = target.lower(program, profile, directory)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy()})
    with torch.no_grad():
        (exact,) = unrounded(program.functions["forward"].graph_module)(x)
        eager = module(x)
    with onnxruntime_session.open_in_fp32(path) as without_rounding:
        conversion = metrics.sqnr_db(exact.numpy(), without_rounding.execute([x.numpy()])[0])
    return path, conversion, metrics.sqnr_db(eager.numpy(), found)


def _computed(path: Path, folder: Path) -> Counter[str]:
    """The operators that ONNX Runtime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def test_four_bits_take_an_eighth_and_their_linears_have_kernels(tmp_path: Path) -> None:
    path, conversion, precision = _lowered("int4-weight", tmp_path)
    assert conversion > 90
    assert precision > 15
    parameters = sum(p.numel() for p in _Mixer().parameters())
    graph = onnx.load(path).graph
    stored = sum(len(tensor.SerializeToString()) for tensor in graph.initializer)
    assert stored < 0.2 * 4 * parameters
    assert sum(tensor.data_type == onnx.TensorProto.INT4 for tensor in graph.initializer) == 3
    computed = _computed(path, tmp_path)
    assert computed["MatMulNBits"] == 2
    assert not computed["DequantizeLinear"] + computed["Cast"], "the convolution's weight is unpacked as the model is opened"


def test_a_group_norm_beside_four_bits_has_a_kernel_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(64, 64, 1), nn.GroupNorm(4, 64), nn.ReLU(), nn.Conv2d(64, 64, 1))
    nn.init.uniform_(module[1].weight, 0.5, 2)  # type: ignore[arg-type]  # an affine GroupNorm's is a Parameter
    path, conversion, _ = _lowered("int4-weight", tmp_path, module=module)
    assert conversion > 100
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert kinds["InstanceNormalization"] == 1
    assert kinds["GroupNormalization"] == 0


def test_eight_bits_take_a_quarter(tmp_path: Path) -> None:
    path, conversion, precision = _lowered("int8-weight", tmp_path)
    assert conversion > 90
    assert precision > 35
    assert not {"DequantizeLinear", "Cast", "Mul"} & _computed(path, tmp_path).keys(), "unpacked as the model is opened"
    integers = [tensor for tensor in onnx.load(path).graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert sum(len(tensor.raw_data) for tensor in integers if len(tensor.dims) > 1) == 64 * 128 + 128 * 128 + 128 * 96


def test_ranges_of_each_run_s_own_are_found_by_the_runtime(tmp_path: Path) -> None:
    path, conversion, precision = _lowered("int8-dynamic", tmp_path)
    assert conversion > 90
    assert precision > 30
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert (kinds["DynamicQuantizeLinear"], kinds["QuantizeLinear"]) == (2, 0)
    computed = _computed(path, tmp_path)
    assert computed["DynamicQuantizeMatMul"] + computed["MatMulNBits"] == 2, "the latter for a single row"


def _with_integers() -> dict[str, RuntimeProfile]:
    """A device for each profile of ONNX Runtime that computes with integers."""
    found = {name: profiles.load(name).runtimes.get("onnx") for name in reversed(data_files.names("device_profiles"))}
    known = {name: profile for name, profile in found.items() if profile is not None and profile.integers is not None}
    distinct = {str(profile.model_copy(update={"source": ""})): name for name, profile in known.items()}
    return {name: known[name] for name in distinct.values()}


@pytest.mark.parametrize("device", _with_integers())
@pytest.mark.parametrize(("scheme", "least_db"), [("int8", 25), ("int8-dynamic", 30), ("int8-weight", 35), ("int4-weight", 15)])
def test_files_for_every_device_compute_what_their_graphs_do(device: str, scheme: str, least_db: float, tmp_path: Path) -> None:
    profile = _with_integers()[device]
    path, conversion, precision = _lowered(scheme, tmp_path, profile)
    assert conversion > 90
    assert precision > least_db
    graph, support = onnx.load(path).graph, profile.integers
    assert support is not None
    if scheme == "int8":
        constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
        zeros = {constants[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
        assert zeros == {{"int8": onnx.TensorProto.INT8, "uint8": onnx.TensorProto.UINT8}[support.activation or ""]}


@pytest.mark.parametrize("scheme", ["int4-weight", "int8-weight", "int8-dynamic"])
def test_files_are_what_the_checker_takes(scheme: str, tmp_path: Path) -> None:
    path, *_ = _lowered(scheme, tmp_path)
    onnx.checker.check_model(str(path), full_check=True)
