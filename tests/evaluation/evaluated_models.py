"""A linear classifier of 4x4 images as ONNX, and what it classifies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES, SIDE, SAMPLES = 6, 4, 120


def classifier(path: Path, *, noise: float = 0.0, batch: int = 1, classes: int = CLASSES, broken: bool = False) -> Path:
    """An `.onnx` of a seeded linear layer, with noise in its weights; a `broken` one gives NaN where the first pixel is above
    1."""
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((3 * SIDE * SIDE, classes)).astype(np.float32)
    weight += noise * np.random.default_rng(1).standard_normal(weight.shape).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["linear"])]
    constants = [numpy_helper.from_array(weight, "w")]
    if broken:  # the root of a negative number
        constants += [numpy_helper.from_array(np.array(v), n) for n, v in (("one", np.float32(1)), ("first", np.int64([0])))]
        nodes += [
            helper.make_node("Gather", ["flat", "first"], ["pixel"], axis=1),
            helper.make_node("Sub", ["one", "pixel"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Mul", ["root", "root"], ["again"]),
            helper.make_node("Sub", ["again", "again"], ["nothing"]),
            helper.make_node("Add", ["linear", "nothing"], ["logits"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["linear"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def samples() -> npt.NDArray[np.float32]:
    """[120, 3, 4, 4]"""
    return np.random.default_rng(2).standard_normal((SAMPLES, 3, SIDE, SIDE)).astype(np.float32)
