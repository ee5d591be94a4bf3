"""ONNX files: what they hold is counted, and what cannot be known is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.errors import ArtifactError
from edgekit.inspection import Weight
from edgekit.inspection.onnx import data_files
from edgekit.runtimes import TensorSpec


def _save(
    path: Path, nodes: list[onnx.NodeProto], shape: list[int | str], weights: list[onnx.TensorProto], **options: object
) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path, **options)
    return path


def _weight(name: str, *shape: int, dtype: str = "float32") -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, dtype), name)


def test_an_artifact_is_counted_weighed_and_named_after_its_manifest(tiny_artifact: Path) -> None:
    report = edgekit.inspect(tiny_artifact)
    assert report.format == "onnx"
    assert dict(report.operators) == {"Conv": 1, "Relu": 1, "ReduceMean": 1, "Reshape": 1, "Gemm": 1}
    assert report.weights[0] == Weight("conv_weight", "float32", (8, 3, 3, 3), 8 * 27 * 4)
    assert {weight.name for weight in report.weights} >= {"fc.weight", "fc.bias"}
    assert report.weights_bytes == sum(w.size_bytes for w in report.weights) == sum(report.weight_dtypes.values())
    assert dict(report.activation_dtypes) == {"float32": 5}
    assert report.largest_rank == 4
    assert report.inputs == (TensorSpec("x", (1, 3, 32, 32), "float32"),)
    assert report.outputs == (TensorSpec("output", (1, 10), "float32"),)
    assert report.size_bytes == (tiny_artifact / "model.onnx").stat().st_size
    assert report.memory is not None
    # its convolution's 8x16x16 map, once before and once after relu, is more than input and map: 3x32x32
    assert report.memory.activations_bytes == 4 * (3 * 32 * 32 + 8 * 16 * 16)
    assert report.memory.weights_bytes == report.weights_bytes
    assert report.delegation is None
    assert report.findings is None
    assert set(report.unknown) == {"delegation", "findings", "placement"}


def test_a_bare_file_tells_its_own_names(tiny_artifact: Path) -> None:
    bare, whole = edgekit.inspect(tiny_artifact / "model.onnx"), edgekit.inspect(tiny_artifact)
    assert bare.inputs == whole.inputs
    assert bare.operators == whole.operators
    assert bare.subject == str(tiny_artifact / "model.onnx")


def test_types_are_inferred_where_the_file_states_none(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    report = edgekit.inspect(_save(tmp_path / "m.onnx", nodes, [2, 3], [_weight("w", 1, 3)]))
    assert dict(report.activation_dtypes) == {"float32": 2}
    assert report.memory is not None
    assert report.memory.activations_bytes == 4 * 12


def test_a_batch_that_is_open_counts_as_one(tmp_path: Path) -> None:
    report = edgekit.inspect(_save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], ["2*batch", 3], []))
    assert report.inputs == (TensorSpec("x", (2, 3), "float32"),)
    assert report.memory is not None
    assert report.memory.activations_bytes == 4 * 12


def test_sizes_that_depend_on_inputs_leave_memory_unknown(tmp_path: Path) -> None:
    report = edgekit.inspect(_save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], ["tokens", 3], []))
    assert report.memory is None
    assert report.unknown["memory"] == "1 of 1 results have sizes that depend on the inputs, such as y"
    assert report.inputs == (TensorSpec("x", (-1, 3), "float32"),)


def test_branches_are_counted_and_constants_are_weights(tmp_path: Path) -> None:
    def branch(operator: str) -> onnx.GraphProto:
        value = helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])
        nodes = [helper.make_node(operator, ["x"], ["r"]), helper.make_node("Mul", ["r", "c"], ["z"])]
        return helper.make_graph(nodes, operator, [], [value], [_weight("c", 1)])

    constant = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True), "yes"))
    choice = helper.make_node("If", ["yes"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg"))
    report = edgekit.inspect(_save(tmp_path / "m.onnx", [constant, choice], [2], []))
    assert dict(report.operators) == {"Mul": 2, "If": 1, "Relu": 1, "Neg": 1}
    assert sorted((weight.name, weight.dtype) for weight in report.weights) == [
        ("c", "float32"),
        ("c", "float32"),
        ("yes", "bool"),
    ]


def test_small_integers_are_weighed_by_their_bits(tmp_path: Path) -> None:
    packed = helper.make_tensor("q", TensorProto.INT4, [3], [1, 2, 3])
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"]),
        helper.make_node("Mul", ["x", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        [packed, numpy_helper.from_array(np.float32(0.5), "s")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), tmp_path / "m.onnx")
    report = edgekit.inspect(tmp_path / "m.onnx")
    assert {weight.name: (weight.dtype, weight.size_bytes) for weight in report.weights} == {
        "q": ("int4", 2),
        "s": ("float32", 4),
    }


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    options = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    return _save(tmp_path / "m.onnx", [helper.make_node("Mul", ["x", "w"], ["y"])], [64], [_weight("w", 64)], **options)


def test_weights_beside_the_file_are_weighed(beside: Path) -> None:
    assert edgekit.inspect(beside).weights == (Weight("w", "float32", (64,), 256),)


def test_the_files_that_hold_them_are_found_in_its_folder_alone(beside: Path, tmp_path: Path) -> None:
    assert data_files(beside) == [tmp_path / "w.bin"]
    own = _save(tmp_path / "own.onnx", [helper.make_node("Mul", ["x", "location"], ["y"])], [64], [_weight("location", 64)])
    assert data_files(own) == []
    (tmp_path / "torn.onnx").write_bytes(beside.read_bytes()[:-20])
    assert data_files(tmp_path / "torn.onnx") == []
    deeper = tmp_path / "deeper" / "m.onnx"
    deeper.parent.mkdir()
    model = onnx.load(beside, load_external_data=False)
    for place in ("../w.bin", str(tmp_path / "w.bin")):
        model.graph.initializer[0].external_data[0].value = place
        deeper.write_bytes(model.SerializeToString())
        with pytest.raises(ArtifactError, match=r"deeper/m\.onnx has weights outside its folder"):
            data_files(deeper)


@pytest.mark.parametrize(("keep", "words"), [(None, "which is missing"), (100, "which is cut short")])
def test_weights_that_are_lost_are_told(beside: Path, keep: int | None, words: str) -> None:
    data = beside.parent / "w.bin"
    content = data.read_bytes()
    data.unlink()
    if keep is not None:
        data.write_bytes(content[:keep])
    with pytest.raises(ArtifactError, match="lacks its weights") as caught:
        edgekit.inspect(beside)
    assert caught.value.cause == f"w is in w.bin, {words}"


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", b"\x08\x09"])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="not a sound ONNX file") as caught:
        edgekit.inspect(tmp_path / "m.onnx")
    assert caught.value.cause
    assert "export it again" in caught.value.next_step


def test_an_edited_artifact_is_refused(artifact_copy: Path) -> None:
    (artifact_copy / "model.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="not the file that was exported"):
        edgekit.inspect(artifact_copy)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "no such directory"),
        ("nowhere.onnx", "no such directory"),
        ("notes.txt", "not .txt"),
        ("file", "without a suffix"),
    ],
)
def test_what_is_no_model_is_told(tmp_path: Path, name: str, words: str) -> None:
    if "nowhere" not in name:
        (tmp_path / name).write_text("x")
    with pytest.raises(ArtifactError) as caught:
        edgekit.inspect(tmp_path / name)
    assert words in caught.value.cause
    assert caught.value.next_step
