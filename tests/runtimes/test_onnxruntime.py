"""ONNX Runtime sessions keep the contract: names and shapes from the file, checked inputs, threads as told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import edgekit
from edgekit import reference_inputs, runtimes
from edgekit.errors import ArtifactError, UnknownName, Unsupported, UsageError
from edgekit.runtimes import Session, TensorSpec
from edgekit.runtimes.onnxruntime import OnnxRuntimeSession, open_in_fp32

_INPUT = {"x": np.random.RandomState(0).standard_normal((1, 3, 32, 32)).astype(np.float32)}


@pytest.fixture
def session(tiny_artifact: Path) -> Session:
    return edgekit.open(tiny_artifact)


def test_names_shapes_and_types_are_the_model_s(session: Session) -> None:
    assert session.inputs == (TensorSpec("x", (1, 3, 32, 32), "float32"),)
    assert session.outputs == (TensorSpec("output", (1, 10), "float32"),)
    assert session.runtime.startswith("onnxruntime 1.")


def test_it_computes_what_the_reference_says(session: Session, tiny_artifact: Path) -> None:
    for inputs, outputs in zip(*reference_inputs.read(tiny_artifact / "reference.npz"), strict=True):
        found = session.run(inputs)
        assert list(found) == ["output"]
        np.testing.assert_allclose(found["output"], outputs["output"], rtol=1e-4, atol=1e-5)


def test_a_bare_model_file_opens_too(session: Session, tiny_artifact: Path) -> None:
    bare = edgekit.open(tiny_artifact / "model.onnx")
    assert (bare.inputs, bare.outputs) == (session.inputs, session.outputs)
    np.testing.assert_array_equal(bare.run(_INPUT)["output"], session.run(_INPUT)["output"])


@pytest.mark.parametrize("count", [1, 2])
def test_threads_change_nothing_but_speed(session: Session, count: int) -> None:
    before = session.run(_INPUT)["output"]
    session.set_threads(count)
    np.testing.assert_allclose(session.run(_INPUT)["output"], before, rtol=1e-5, atol=1e-6)
    assert session.inputs[0].name == "x"


def test_rounding_stays_out_when_threads_change(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    graph = """g (float[4] x) => (float[4] y) <float scale = {0.5}, int8 zero = {-3}> {
        q = QuantizeLinear (x, scale, zero)
        y = DequantizeLinear (q, scale, zero)
    }"""
    onnx.save(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {graph}'), file)
    given = np.array([0.3, -100, 200, -0.2], np.float32)
    with edgekit.open(file) as rounding, open_in_fp32(file) as session:
        for count in (1, 2):
            session.set_threads(count)
            np.testing.assert_allclose(session.run({"x": given})["y"], [0.3, -62.5, 65, -0.2], rtol=1e-6)
        np.testing.assert_array_equal(rounding.run({"x": given})["y"], [0.5, -62.5, 65, 0])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, ["input 'x' is missing", "[1, 3, 32, 32]"]),
        ({"y": _INPUT["x"]}, ["input 'x' is missing"]),
        ({**_INPUT, "y": _INPUT["x"]}, ["no input named y", "its inputs are x"]),
        ({"x": _INPUT["x"][:, :, :-1]}, ["does not fit", "[1, 3, 31, 32]", "[1, 3, 32, 32]"]),
        ({"x": _INPUT["x"].astype(np.float64)}, ["does not fit", "float64", "float32"]),
    ],
)
def test_wrong_inputs_are_refused(session: Session, inputs: dict[str, np.ndarray], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        session.run(inputs)
    assert not [word for word in words if word not in str(caught.value)]
    assert caught.value.next_step


def test_an_input_in_another_memory_layout_is_the_same_input(session: Session) -> None:
    strided = np.asfortranarray(_INPUT["x"])
    np.testing.assert_array_equal(session.run({"x": strided})["output"], session.run(_INPUT)["output"])


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a protobuf")
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot load") as caught:
        edgekit.open(tmp_path / "model.onnx")
    assert caught.value.cause
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(onnx.TensorProto.FLOAT, ["rows", 3]), (onnx.TensorProto.FLOAT, [None]), (onnx.TensorProto.STRING, [2])],
)
def test_dynamic_shapes_and_strings_are_told_as_what_they_are(tmp_path: Path, kind: int, shape: list[object]) -> None:
    border = [onnx.helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", border[:1], border[1:])
    onnx.save(
        onnx.helper.make_model(graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", 18)]), tmp_path / "m.onnx"
    )
    with pytest.raises(Unsupported, match="'x' is a tensor") as caught:
        edgekit.open(tmp_path / "m.onnx")
    assert "static shapes" in caught.value.cause
    assert caught.value.next_step


def test_a_damaged_artifact_is_refused_before_it_is_opened(artifact_copy: Path) -> None:
    os.truncate(artifact_copy / "model.onnx", 500)
    with pytest.raises(ArtifactError, match="not the file that was exported"):
        edgekit.open(artifact_copy)


def test_a_file_no_runtime_opens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_text("x")
    with pytest.raises(ArtifactError, match=r"no runtime opens \.tflite files") as caught:
        edgekit.open(tmp_path / "model.tflite")
    assert ".onnx" in caught.value.next_step


def test_what_is_neither_a_file_nor_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        edgekit.open(tmp_path / "nowhere")
    with pytest.raises(UnknownName):
        edgekit.open("nowhere")


def test_a_session_ends_with_its_block(tiny_artifact: Path) -> None:
    with runtimes.open(tiny_artifact) as session:
        assert session.run(_INPUT)


def test_onnx_runtime_does_not_report_what_it_opens(tiny_artifact: Path, tmp_path: Path) -> None:
    """Its wheels keep a telemetry store in the temporary folder and at home unless told not to."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    code = f"import edgekit; print(edgekit.open({str(tiny_artifact)!r}).runtime)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HOME": str(home), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("onnxruntime")
    assert list(home.iterdir()) == list(temporary.iterdir()) == []


def test_it_opens_once_with_the_threads_that_the_environment_tells(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with OnnxRuntimeSession(tiny_artifact / "model.onnx", None, None) as session:
        opened = session._session
        assert opened.get_session_options().intra_op_num_threads == 2
        session.set_threads(2)
        assert session._session is opened
        session.set_threads(1)
        assert session._session.get_session_options().intra_op_num_threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # OpenMP's list of levels: nothing that ONNX Runtime has
    with OnnxRuntimeSession(tiny_artifact / "model.onnx", None, None) as session:
        assert session._session.get_session_options().intra_op_num_threads == 0
