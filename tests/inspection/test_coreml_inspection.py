"""Core ML packages: what they hold is counted, and what is wrong with one is told."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import programs
import pytest
from coremltools.converters import mil

import edgekit
from edgekit.errors import ArtifactError, Unsupported
from edgekit.inspection import Weight
from edgekit.quiet import quiet
from edgekit.runtimes import TensorSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "darwin", reason="Core ML itself would plan the packages"),
]

mb = mil.Builder
_X = np.zeros((1, 3, 8, 8), np.float16)
_W = np.ones((4, 3, 3, 3), np.float16)


def _net(x: Any) -> Any:
    y = mb.relu(x=mb.conv(x=x, weight=mb.const(val=_W, name="stem_conv_weight_to_fp16"), pad_type="same"))
    return mb.softplus(x=mb.reduce_mean(x=y, axes=[2, 3], keep_dims=True))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.save(_net, tmp_path_factory.mktemp("saved") / "net.mlpackage", {"x": _X})


def test_a_package_is_counted_weighed_and_linted(package: Path) -> None:
    report = edgekit.inspect(package)
    assert report.format == "coreml"
    assert dict(report.operators) == {"conv": 1, "relu": 1, "reduce_mean": 1, "softplus": 1}
    assert report.weights == (Weight("stem_conv_weight", "float16", (4, 3, 3, 3), 216),)
    assert report.weight_dtypes == {"float16": 216}
    assert dict(report.activation_dtypes) == {"float16": 4}
    assert report.largest_rank == 4
    assert report.inputs == (TensorSpec("x", (1, 3, 8, 8), "float16"),)
    assert len(report.outputs) == 1
    assert report.size_bytes == sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
    assert report.findings is not None
    assert [finding.rule for finding in report.findings] == ["fp16-softplus", "ane-last-axis"]
    assert report.may_leave == {}
    assert set(report.unknown) == {"placement", "delegation"}
    assert "only a Mac" in report.unknown["placement"]


def test_memory_is_the_peak_of_live_results(package: Path) -> None:
    memory = edgekit.inspect(package).memory
    assert memory is not None
    assert memory.activations_bytes == 2 * (4 * 8 * 8 * 2)  # the map before and after relu
    assert memory.weights_bytes == 216
    assert memory.at == "relu_0"


def test_what_may_leave_counts_each_operator_once(tmp_path: Path) -> None:
    def build(x: Any) -> Any:  # a gather of fp32 numbers is named by two rules
        return mb.gather(x=x, indices=np.int32([0, 2]), axis=1)

    path = programs.save(build, tmp_path / "m.mlpackage", {"x": _X.astype(np.float32)})
    report = edgekit.inspect(path)
    assert {finding.rule for finding in report.findings or ()} == {"ane-gather", "fp32-compute"}
    assert report.may_leave == {"gather": 1}


def test_open_sizes_leave_memory_unknown(tmp_path: Path) -> None:
    import torch

    class Double(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 2).relu()

    with quiet():
        coremltools.convert(
            torch.jit.trace(Double(), torch.ones(1, 4)),
            inputs=[coremltools.TensorType(name="x", shape=coremltools.Shape((1, coremltools.RangeDim(2, 9, default=4))))],
            minimum_deployment_target=coremltools.target.iOS17,
            skip_model_load=True,
        ).save(str(tmp_path / "open.mlpackage"))
    report = edgekit.inspect(tmp_path / "open.mlpackage")
    assert report.memory is None
    assert "have sizes that depend on the inputs" in report.unknown["memory"]
    assert report.as_dict()["inputs"][0]["choices"] == [[[1, 1], [2, 9]]]


@pytest.mark.parametrize(("bits", "stored"), [(8, 64 * 32 + 256 * 2), (4, 64 * 32 // 2 + 16 * 2)])
def test_compressed_weights_are_weighed_as_they_are_stored(tmp_path: Path, bits: int, stored: int) -> None:
    from coremltools.optimize import coreml as compression

    weight = np.random.default_rng(0).standard_normal((64, 32, 1, 1)).astype(np.float16)
    x = np.zeros((1, 32, 4, 4), np.float16)
    path = programs.save(
        lambda x: mb.conv(x=x, weight=mb.const(val=weight, name="w")), tmp_path / "m.mlpackage", {"x": x}, ios=18
    )
    with quiet():
        model = coremltools.models.MLModel(str(path), skip_model_load=True)
        config = compression.OpPalettizerConfig(mode="uniform", nbits=bits, weight_threshold=0)
        small = compression.palettize_weights(model, compression.OptimizationConfig(global_config=config))
        small.save(str(tmp_path / "small.mlpackage"))
    report = edgekit.inspect(tmp_path / "small.mlpackage")
    assert report.weights_bytes == stored
    assert dict(report.operators) == {"conv": 1}


def test_an_artifact_goes_by_its_manifest(tiny_file: Path, tmp_path: Path) -> None:
    made = edgekit.export(f"{tiny_file}:build", "coreml", input_shapes=((1, 3, 32, 32),), output=tmp_path / "made")
    report = edgekit.inspect(made.directory)
    assert report.inputs == (TensorSpec("x", (1, 3, 32, 32), "float32"),)
    assert report.outputs == (TensorSpec("output", (1, 10), "float32"),)
    assert report.operators["conv"] == 1
    assert {"conv_weight", "fc_weight"} <= {weight.name for weight in report.weights}
    assert "ane-linear" in {finding.rule for finding in report.findings or ()}
    assert not [finding for finding in report.findings or () if finding.severity != "note"]


def test_a_damaged_package_is_told(package: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(package, tmp_path / "net.mlpackage"))
    next(copied.rglob("weight.bin")).write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"weight\.bin is damaged"):
        edgekit.inspect(copied)
    shutil.rmtree(copied)
    copied.mkdir()
    with pytest.raises(ArtifactError, match="not a sound Core ML package"):
        edgekit.inspect(copied)


def test_a_neural_network_is_no_program(package: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(package, tmp_path / "net.mlpackage"))
    spec = coremltools.utils.load_spec(str(copied))
    spec.neuralNetwork.SetInParent()
    next(copied.rglob("*.mlmodel")).write_bytes(spec.SerializeToString())
    with pytest.raises(Unsupported, match="of type neuralNetwork"):
        edgekit.inspect(copied)
