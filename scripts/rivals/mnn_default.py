"""MNN on the CPU, converted from what `torch.onnx.export` gives."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.quiet import quiet
from edgekit.runtimes import Array, Session, TensorSpec

if TYPE_CHECKING:
    from rival import Source

VARIANTS: dict[str, dict[str, Any]] = {"MNN": {}}
REQUIRES = ("MNN",)
LIBRARIES = ("MNN",)


def convert(source: Source, folder: Path) -> None:
    """`torch.onnx.export`, then MNN's converter."""
    import _tools  # the converter itself: `MNN.tools.mnnconvert` runs pip to install a log service when it is imported
    import torch

    made = torch.onnx.export(source.program, (), external_data=False, verbose=False)
    assert made is not None
    made.save(folder / "model.onnx")
    files = ["--modelFile", str(folder / "model.onnx"), "--MNNModel", str(folder / "model.mnn")]
    try:
        with quiet():
            _tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--bizCode", "edgekit"])
            if not (folder / "model.mnn").exists():
                raise RuntimeError
    except RuntimeError as error:  # it only prints what it lacks
        said = getattr(error, "__notes__", ["its converter left no file"])[-1].splitlines()
        raise RuntimeError(" ".join(said[-2:])) from None
    graph = made.model_proto.graph
    inputs = [(x.name, list(tensor.shape)) for x, tensor in zip(graph.input, source.inputs.values(), strict=True)]
    (folder / "borders.json").write_text(json.dumps({"inputs": inputs, "outputs": [x.name for x in graph.output]}))


class _Module(Session):
    """An MNN module for a fixed shape, in fp32."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        from MNN import expr, nn

        self._folder, self._expr = folder, expr
        borders = json.loads((folder / "borders.json").read_text())
        self.inputs = tuple(TensorSpec(name, tuple(shape), "float32") for name, shape in borders["inputs"])
        self.outputs = tuple(TensorSpec(name, (), "float32") for name in borders["outputs"])
        self._module = nn.load_module_from_file(
            str(folder / "model.mnn"),
            [spec.name for spec in self.inputs],
            [spec.name for spec in self.outputs],
            # Without a manager of its own it starts the threads of the global one, which never rest.
            runtime_manager=nn.create_runtime_manager(({"backend": "CPU", "precision": "high", "numThread": threads},)),
            shape_mutable=False,
            rearrange=True,
        )
        self.runtime = f"MNN {importlib.metadata.version('MNN')}"

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        given = [self._expr.const(array, array.shape, self._expr.NCHW) for array in arrays]
        return [np.array(output.read(), copy=True) for output in self._module.forward(given)]

    def set_threads(self, count: int) -> None:
        self.__init__(self._folder, count)  # type: ignore[misc]  # rebuilt in place: it is fixed when loading


def open(folder: Path, inputs: Sequence[TensorSpec] | None, outputs: Sequence[TensorSpec] | None) -> Session:
    """The module."""
    return _Module(folder)
