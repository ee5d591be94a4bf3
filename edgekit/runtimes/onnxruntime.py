"""ONNX Runtime, CPU execution provider."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import ArtifactError, Unsupported
from edgekit.runtimes import Array, Session, TensorSpec

SUFFIX = ".onnx"
LIBRARIES = ("onnxruntime",)

_CUDA = "CUDAExecutionProvider"
_FOUR_BITS_PRODUCTS = "session.qdq_matmulnbits_accuracy_level"
"""What products with weights of four bits are computed in: 1 is fp32; usually it is 4, eight bits in each run's own ranges."""
_BATCH = re.compile(r"(?:(\d+)\*)?batch")
"""How edgekit's own files write a size that follows a dynamic batch."""
_NUMPY_NAMES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(bool)": "bool",
}


class OnnxRuntimeSession(Session):
    """One `InferenceSession`, rebuilt when threads or their spinning change (they are fixed at creation). It starts with
    OMP_NUM_THREADS threads where that is set, as its OpenMP builds did, so that whoever sets it opens the model once. Without a
    manifest a dynamic batch is 1."""

    spinning = True

    def __init__(
        self,
        model_file: Path,
        inputs: Sequence[TensorSpec] | None,
        outputs: Sequence[TensorSpec] | None,
        threads: int | None = None,
        spinning: bool = True,
        gpu: int | None = None,
    ) -> None:
        import onnxruntime

        told = os.environ.get("OMP_NUM_THREADS", "")
        self._threads = int(told) if threads is None and told.isdigit() else threads
        self.model_file, self.spinning, self._gpu = model_file, spinning, gpu
        self._session = session = self.fresh(model_file)
        on = "" if gpu is None else ", CUDA execution provider"
        self.runtime = f"onnxruntime {onnxruntime.__version__}{on}"
        self.inputs = tuple(inputs or (_spec(tensor, model_file) for tensor in session.get_inputs()))
        self.outputs = tuple(outputs or (_spec(tensor, model_file) for tensor in session.get_outputs()))
        self._output_names = [spec.name for spec in self.outputs]

    def fresh(self, model_file: Path, entries: Mapping[str, str] | None = None, **changes: object) -> Any:
        """An `InferenceSession` of a file, with this session's options but for `changes` by name, and configuration `entries`
        of its own. Raises ArtifactError for a file that ONNX Runtime does not load."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Sequential and one inter-op thread: the settings under which latencies repeat.
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.inter_op_num_threads = 1
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(bool(self.spinning))))
        for key, entry in (entries or {}).items():
            options.add_session_config_entry(key, entry)
        options.log_severity_level = 3
        providers: list[Any] = ["CPUExecutionProvider"]
        if self._gpu is not None:
            providers.insert(0, (_CUDA, {"device_id": self._gpu}))
        for name, value in changes.items():
            setattr(options, name, value)
        try:
            return onnxruntime.InferenceSession(str(model_file), options, providers=providers)
        except Exception as error:  # the binding raises its own classes, all of them derived from Exception alone
            raise ArtifactError(
                f"ONNX Runtime cannot load {model_file}",
                cause=str(error).strip().splitlines()[0],
                next_step="export it again; if it was downloaded, check that the download is complete",
            ) from error

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        feed = {spec.name: array for spec, array in zip(self.inputs, arrays, strict=True)}
        return list(self._session.run(self._output_names, feed))

    def set_threads(self, count: int) -> None:
        if count != self._threads:
            self._rebuild(count, bool(self.spinning), self._gpu)

    def set_spinning(self, allowed: bool) -> None:
        if allowed != self.spinning:
            self._rebuild(self._threads, allowed, self._gpu)

    def use_gpu(self, index: int) -> None:
        import onnxruntime

        if _CUDA in onnxruntime.get_available_providers():
            self._rebuild(self._threads, bool(self.spinning), index)
            if _CUDA in self._session.get_providers():  # it falls back to the CPU without a word
                return
        raise Unsupported(
            "ONNX Runtime finds no GPU here",
            cause=f"this build has {', '.join(onnxruntime.get_available_providers())}",
            next_step="on a machine with an NVIDIA GPU: pip install onnxruntime-gpu, in place of onnxruntime",
        )

    def prepared(self, arrays: Sequence[Array]) -> Callable[[], Sequence[Any]]:
        if self._gpu is None:
            return super().prepared(arrays)
        import onnxruntime

        binding = self._session.io_binding()
        held = [onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", self._gpu) for array in arrays]
        for spec, value in zip(self.inputs, held, strict=True):
            binding.bind_ortvalue_input(spec.name, value)
        for name in self._output_names:
            binding.bind_output(name, "cuda", self._gpu)

        def run() -> Sequence[Any]:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            outputs: list[Any] = binding.get_outputs()
            return outputs

        self._held = held  # the binding does not keep them alive
        return run

    def _rebuild(self, threads: int | None, spinning: bool, gpu: int | None = None) -> None:
        del self._session  # first, or memory would hold the model twice
        self.__init__(self.model_file, self.inputs, self.outputs, threads, spinning, gpu)  # type: ignore[misc]  # see the class docstring


class _UnroundedSession(OnnxRuntimeSession):
    """Of the same file with activations kept within the ranges of their integers, and not rounded to them."""

    def fresh(self, model_file: Path, entries: Mapping[str, str] | None = None, **changes: object) -> Any:
        import onnx

        from edgekit import scratch

        model = onnx.load(model_file)
        _leave_unrounded(model.graph)
        with scratch.folder() as folder:
            edited = folder / model_file.name
            onnx.save(model, str(edited))
            return super().fresh(edited, {**(entries or {}), _FOUR_BITS_PRODUCTS: "1"}, **changes)


def _leave_unrounded(graph: Any) -> None:
    """Write a Clip for each pair around an activation, and a Mul by the ratio of its halves' scales; a pair whose range is each
    run's own goes. One of two zero points stays: it does more than rounding."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quantizing = {node.output[0]: node for node in graph.node if node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear")}
    unrounded = []
    for node in graph.node:
        pair = quantizing.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if pair is not None and pair.op_type == "DynamicQuantizeLinear":
            unrounded.append(helper.make_node("Identity", [pair.input[0]], node.output))
            continue
        if pair is None or not np.array_equal(constants[pair.input[2]], constants[node.input[2]]):
            unrounded.append(node)
            continue
        scale, zero = (constants[name] for name in pair.input[1:3])
        name, ratio = node.output[0], constants[node.input[1]] / scale
        ends = (scale * (float(end) - zero.astype(np.float32)) for end in (np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max))
        values = dict(zip((f"{name}_low", f"{name}_high", f"{name}_ratio"), (*ends, ratio), strict=True))
        graph.initializer.extend(numpy_helper.from_array(np.asarray(value, np.float32), key) for key, value in values.items())
        low, high, factor = values
        unrounded.append(helper.make_node("Clip", [pair.input[0], low, high], [f"{name}_kept"]))
        unrounded.append(helper.make_node("Mul", [f"{name}_kept", factor], node.output))
    del graph.node[:]
    graph.node.extend(unrounded)


def size_in_batch_of_one(size: int | str) -> int | str:
    """A size as it is for a batch of one; unchanged where it is a number, or a name that edgekit does not write."""
    return int(found[1] or 1) if (found := _BATCH.fullmatch(str(size))) else size


def _spec(tensor: Any, model_file: Path) -> TensorSpec:
    shape: tuple[Any, ...] = tuple(size_in_batch_of_one(size) for size in tensor.shape)
    if tensor.type not in _NUMPY_NAMES or not all(isinstance(size, int) for size in shape):
        raise Unsupported(
            f"{model_file}: {tensor.name!r} is a {tensor.type} of shape {list(tensor.shape)}",
            cause="edgekit runs tensors of numbers with static shapes",
            next_step="export the model with a fixed shape for every input",
        )
    return TensorSpec(tensor.name, shape, _NUMPY_NAMES[tensor.type])


def open(model_file: Path, inputs: Sequence[TensorSpec] | None = None, outputs: Sequence[TensorSpec] | None = None) -> Session:
    """The session of an ONNX file; names and shapes come from the file itself when there is no manifest."""
    return OnnxRuntimeSession(model_file, inputs, outputs)


def open_in_fp32(
    model_file: Path, inputs: Sequence[TensorSpec] | None = None, outputs: Sequence[TensorSpec] | None = None
) -> Session:
    """The same model with activations kept within the ranges of their integers, and not rounded to them."""
    return _UnroundedSession(model_file, inputs, outputs)
