"""ONNX Runtime with its default options on what `torch.onnx.export` gives, as it comes or simplified by onnxsim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.runtimes import Array, Session, TensorSpec

if TYPE_CHECKING:
    from rival import Source

VARIANTS: dict[str, dict[str, Any]] = {
    "ONNX Runtime": {"simplify": False},
    "ONNX Runtime after onnxsim": {"simplify": True},
}
REQUIRES = ("onnxruntime", "onnx", "onnxscript", "onnxsim")
LIBRARIES = ("onnxruntime",)


def convert(source: Source, folder: Path, *, simplify: bool) -> None:
    """`torch.onnx.export`, then onnxsim when asked to."""
    import onnx
    import onnxsim
    import torch

    made = torch.onnx.export(source.program, (), external_data=False, verbose=False)
    assert made is not None
    model = made.model_proto
    if simplify:
        model, same = onnxsim.simplify(model)
        assert same, "onnxsim found that its model computes something else"
    onnx.save(model, folder / "model.onnx")


class _Default(Session):
    """An `InferenceSession` of which nothing is set but the number of threads."""

    def __init__(self, model_file: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._model_file = model_file
        self._session = onnxruntime.InferenceSession(str(model_file), options, providers=["CPUExecutionProvider"])
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        self.inputs = tuple(TensorSpec(x.name, tuple(x.shape), "float32") for x in self._session.get_inputs())
        self.outputs = tuple(TensorSpec(x.name, tuple(x.shape), "float32") for x in self._session.get_outputs())

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        feed = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        return list(self._session.run(None, feed))

    def set_threads(self, count: int) -> None:
        self.__init__(self._model_file, count)  # type: ignore[misc]  # rebuilt in place: it is fixed at creation


def open(folder: Path, inputs: Sequence[TensorSpec] | None, outputs: Sequence[TensorSpec] | None) -> Session:
    """The session of the ONNX file."""
    return _Default(folder / "model.onnx")
