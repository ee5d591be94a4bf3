"""ONNX Runtime's nodes: what they stand for in the file, whatever was fused, renamed or put in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from nested_model import BLOCK, FC, STEM
from onnx import TensorProto, helper

import edgekit
from edgekit import python_files
from edgekit.profiling import operators
from edgekit.profiling.measurement import OperatorProfile, OperatorTime
from edgekit.profiling.operators import grouped
from edgekit.profiling.operators.onnx_sources import sources
from edgekit.runtimes import Array
from edgekit.runtimes.onnxruntime import OnnxRuntimeSession


def _of(path: Path, arrays: list[Array]) -> OperatorProfile:
    return operators.of_session(edgekit.open(path), arrays)


def _macs(profile: OperatorProfile, depth: int) -> dict[str | None, int | None]:
    return {group.name: group.macs for group in grouped(profile, "module", depth)}


def test_every_node_has_its_time_module_multiply_adds_and_bytes(nested_artifact: Path, arrays: list[Array]) -> None:
    profile = _of(nested_artifact, arrays)
    assert profile.reason is None
    assert profile.runs > 10
    assert all(operator.time_s >= 0 and operator.bytes_moved is not None for operator in profile.operators)
    assert _macs(profile, 2) == {"stem": STEM, "blocks.0": BLOCK, "blocks.1": BLOCK, "fc": FC, "": 0}
    by_module = {operator.module: operator for operator in profile.operators if operator.macs}
    assert set(by_module) == {"stem", "blocks.0.conv", "blocks.1.conv", "fc"}
    assert by_module["blocks.0.conv"].operator == "Conv"
    image, weight, result = 16 * 16 * 16, 16 * 16 * 9, 16 * 16 * 16
    assert by_module["blocks.0.conv"].bytes_moved == 4 * (image + weight + 16 + result)
    assert (by_module["blocks.0.conv"].shapes or "").endswith("16x16x3x3, 16 -> 1x16x16x16")
    assert by_module["fc"].bytes_moved == 4 * (16 + 160 + 10 + 10), "a packed weight that the trace does not tell"


def test_the_sum_of_multiply_adds_is_the_manifest_s(nested_artifact: Path, arrays: list[Array]) -> None:
    total = sum(operator.macs or 0 for operator in _of(nested_artifact, arrays).operators)
    assert total == edgekit.artifact.load(nested_artifact).manifest.model.macs


def test_profiling_changes_nothing_of_the_graph(nested_artifact: Path, arrays: list[Array], tmp_path: Path) -> None:
    session = edgekit.open(nested_artifact)
    assert isinstance(session, OnnxRuntimeSession)
    session.fresh(session.model_file, optimized_model_filepath=str(tmp_path / "plain.onnx"))
    plain = [node.op_type for node in onnx.load(tmp_path / "plain.onnx").graph.node]
    assert sorted(plain) == sorted(operator.operator for operator in operators.of_session(session, arrays).operators)


def test_a_file_of_the_older_exporter_has_modules_by_its_names(nested_file: Path, arrays: list[Array], tmp_path: Path) -> None:
    path = tmp_path / "older.onnx"
    module = python_files.load(nested_file).build()
    torch.onnx.export(module, (torch.from_numpy(arrays[0]),), str(path), dynamo=False)
    assert _macs(_of(path, arrays), 2) == {"stem": STEM, "blocks.0": BLOCK, "blocks.1": BLOCK, "fc": FC, "": 0}


def test_a_file_that_names_neither_nodes_nor_modules_has_the_rest(tiny_onnx: Path) -> None:
    (product,) = _of(tiny_onnx, [np.zeros((1, 64), np.float32)]).operators
    assert (product.operator, product.module, product.macs) == ("MatMul", None, 64 * 64)
    assert product.bytes_moved == 4 * (64 + 64 * 64 + 64)


def test_the_multiply_adds_follow_the_batch_that_is_run(nested_file: Path, tmp_path: Path) -> None:
    made = edgekit.export(f"{nested_file}:build", "onnx", input_shapes=((1, 3, 32, 32),), max_batch=4, output=tmp_path)
    profile = _of(made.directory, [np.zeros((3, 3, 32, 32), np.float32)])
    assert sum(operator.macs or 0 for operator in profile.operators) == 3 * (STEM + 2 * BLOCK + FC)


def _model(nodes: list[onnx.NodeProto], **shapes: list[int]) -> onnx.ModelProto:
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    inputs = [value for name, value in values.items() if name != "y"]
    graph = helper.make_graph(nodes, "test", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)])


@pytest.mark.parametrize(
    ("node", "shapes", "macs"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"], group=4, pads=[1] * 4), {"x": [2, 8, 5, 5], "w": [8, 2, 3, 3]}, 7200),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]), {"x": [1, 4, 5, 5], "w": [4, 6, 2, 2]}, 2400),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), {"x": [3, 2, 5], "w": [5, 7]}, 210),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transA=1), {"x": [5, 2], "w": [5, 7]}, 70),
        (helper.make_node("Relu", ["x"], ["y"]), {"x": [3, 2]}, 0),
        (helper.make_node("Einsum", ["x", "w"], ["y"], equation="ij,jk->ik"), {"x": [2, 5], "w": [5, 7]}, None),
        (helper.make_node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft"), {"x": [2, 5], "w": [5, 7]}, None),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else None,
)
def test_multiply_adds_are_known_by_formula_or_not_at_all(
    node: onnx.NodeProto, shapes: dict[str, list[int]], macs: int | None
) -> None:
    node.name = "made"
    model = _model([node], **shapes)
    assert sources(model, model.graph, shapes)["made"].macs == macs


def _node(operator: str, inputs: list[str], output: str, module: str | None = None, name: str = "") -> onnx.NodeProto:
    made = helper.make_node(operator, inputs, [output], name=name or f"node_{output}")
    if module is not None:
        made.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=str(["", module, output]))
    return made


def test_a_fused_node_is_from_the_module_of_its_heaviest_part_and_a_copy_from_the_one_that_holds_its_readers() -> None:
    model = _model(
        [
            _node("Conv", ["x", "w"], "conv", "blocks.0.conv"),
            _node("Relu", ["conv"], "relu", "blocks.0.act"),
            _node("Sigmoid", ["relu"], "gate", "blocks.1.gate"),
            _node("Mul", ["relu", "gate"], "y", "blocks.1.scale"),
        ],
        x=[1, 8, 4, 4],
        w=[8, 8, 1, 1],
    )
    executed = helper.make_graph(
        [
            _node("Conv", ["x", "w"], "token_1", name="relu_nchwc"),
            _node("ReorderInput", ["token_1"], "token_2", name="ReorderInput"),
            _node("Sigmoid", ["token_2"], "gate"),
            _node("Mul", ["token_2", "gate"], "token_3", name="node_y/Fused/"),
            _node("ReorderOutput", ["token_3"], "y", name="ReorderOutput"),
            _node("Foreign", ["y"], "z", name="nobody knows"),
            _node("Sigmoid", ["z"], "other", name="node_gate/Fused/"),
        ],
        "executed",
        [],
        [],
    )
    found = sources(model, executed, {"x": [1, 8, 4, 4]})
    told = {name: (source.module, source.macs) for name, source in found.items()}
    assert told == {
        "relu_nchwc": ("blocks.0.conv", 8 * 8 * 16),
        "ReorderInput": ("blocks.1", 0),
        "node_gate": ("blocks.1.gate", 0),
        "node_y/Fused/": ("blocks.1.scale", 0),
        "ReorderOutput": ("blocks.1.scale", 0),
        "nobody knows": ("blocks.1.gate", None),
        "node_gate/Fused/": ("blocks.1.gate", None),
    }


@pytest.mark.parametrize("written", ["['', 'stem', ", "7", "[]", "['conv']", "{[}"])
def test_a_note_that_is_no_list_of_modules_names_none(written: str) -> None:
    node = _node("Relu", ["x"], "y")
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=written)
    model = _model([node], x=[1, 8])
    assert sources(model, model.graph, {"x": [1, 8]})["node_y"].module is None


def test_what_a_branch_does_is_part_of_it(tmp_path: Path) -> None:
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [64]) for name in "xyz")
    then = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="inner")], "then", [], [y])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["z"], name="other")], "else", [], [z])
    branch = helper.make_node("If", ["c"], ["o"], name="outer", then_branch=then, else_branch=other)
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, [64])
    graph = helper.make_graph([branch], "branches", [condition, x], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "if.onnx")
    (found,) = _of(tmp_path / "if.onnx", [np.array(True), np.ones(64, np.float32)]).operators
    assert (found.name, found.operator, found.macs) == ("outer", "If", None)


@pytest.mark.slow
def test_lsnet_s_nodes_all_have_modules_and_the_manifest_s_multiply_adds(tmp_path: Path) -> None:
    made = edgekit.export("lsnet_t", "onnx", output=tmp_path)
    (image,) = made.manifest.inputs
    profile = _of(made.directory, [np.zeros(image.shape, np.float32)])
    found: tuple[OperatorTime, ...] = profile.operators
    assert sum(operator.macs or 0 for operator in found) == made.manifest.model.macs
    assert not [operator.name for operator in found if operator.module is None or operator.macs is None]
    assert {"patch_embed", "blocks2", "blocks3", "blocks4", "head"} <= {g.name for g in grouped(profile, "module", 1)}
