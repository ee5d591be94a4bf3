"""OpenVINO, its CPU plugin, on the exported program or on what `torch.onnx.export` gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.runtimes import Array, Session, TensorSpec

if TYPE_CHECKING:
    from rival import Source

VARIANTS: dict[str, dict[str, Any]] = {
    "OpenVINO": {"through_onnx": False},
    "OpenVINO, through ONNX": {"through_onnx": True},
}
REQUIRES = ("openvino",)
LIBRARIES = ("openvino",)


def convert(source: Source, folder: Path, *, through_onnx: bool) -> None:
    """`openvino.convert_model`, kept in fp32."""
    import openvino
    import torch

    given: dict[str, Any] = {"input_model": source.program, "input": [tuple(tensor.shape) for tensor in source.inputs.values()]}
    if through_onnx:
        made = torch.onnx.export(source.program, (), external_data=False, verbose=False)
        assert made is not None
        made.save(folder / "model.onnx")
        given = {"input_model": folder / "model.onnx"}
    try:
        model = openvino.convert_model(**given)
    except Exception as error:  # the binding's own classes, whose messages begin with where in OpenVINO they were raised
        raise RuntimeError(str(error).split("detailed log:")[-1]) from None
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


class _CompiledModel(Session):
    """A compiled model for latency in fp32."""

    def __init__(self, model_file: Path, threads: int = 0) -> None:
        import openvino

        settings: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            settings |= {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        self._model_file = model_file
        compiled = openvino.Core().compile_model(model_file, "CPU", settings)
        self._request = compiled.create_infer_request()
        self.runtime = f"openvino {openvino.__version__.split('-')[0]}"
        self.inputs = tuple(TensorSpec(f"input_{i}", tuple(x.shape), "float32") for i, x in enumerate(compiled.inputs))
        self.outputs = tuple(TensorSpec(f"output_{i}", tuple(x.shape), "float32") for i, x in enumerate(compiled.outputs))

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        found = self._request.infer(list(arrays), share_inputs=True)
        return [found[index] for index in range(len(self.outputs))]

    def set_threads(self, count: int) -> None:
        self.__init__(self._model_file, count)  # type: ignore[misc]  # rebuilt in place: it is fixed at compilation


def open(folder: Path, inputs: Sequence[TensorSpec] | None, outputs: Sequence[TensorSpec] | None) -> Session:
    """The compiled model."""
    return _CompiledModel(folder / "model.xml")
