"""ExecuTorch's own runtime, with the backends of the installed wheel (XNNPACK)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.quiet import quiet
from edgekit.runtimes import Array, Session, TensorSpec

SUFFIX = ".pte"
# The binding itself: the public module around it imports the whole export stack, seconds that no device spends.
LIBRARIES = ("torch", "executorch.extension.pybindings._portable_lib")

# The binding gives ExecuTorch's ScalarType numbers, which are torch's.
NUMPY_NAMES = {
    0: "uint8",
    1: "int8",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
}


class ExecuTorchSession(Session):
    """The `forward` method of a `.pte` program. The file keeps no tensor names: without a manifest they are numbered."""

    def __init__(self, model_file: Path, inputs: Sequence[TensorSpec] | None, outputs: Sequence[TensorSpec] | None) -> None:
        from importlib import metadata

        with quiet():
            import torch  # noqa: F401 - the binding needs its libraries loaded
            from executorch.extension.pybindings import _portable_lib

        self.runtime = f"executorch {metadata.version('executorch')}"
        self._binding, self._model_file, self._has_run = _portable_lib, str(model_file), False
        try:
            with quiet():
                self._module = _portable_lib._load_for_executorch(self._model_file)
                meta = self._module.method_meta("forward")
        except RuntimeError as error:
            raise ArtifactError(
                f"ExecuTorch cannot load {model_file}",
                cause=str(error).strip().splitlines()[0],
                next_step="export it again; if it was downloaded, check that the download is complete",
            ) from error
        self.inputs = tuple(inputs) if inputs else _numbered("input", meta.num_inputs(), meta.input_tensor_meta)
        self.outputs = tuple(outputs) if outputs else _numbered("output", meta.num_outputs(), meta.output_tensor_meta)

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        import torch

        # The first run starts the thread pool, which tells at length what it could not read about the processor.
        held, self._has_run = contextlib.nullcontext() if self._has_run else quiet(), True
        with held:
            outputs = self._module.forward([torch.from_numpy(array) for array in arrays])
        # The tensors alias the program's planned memory, which the next run overwrites.
        return [output.numpy().copy() for output in outputs]

    def traced(self) -> Any:
        """The binding's module of the same program, once more, told to trace its events."""
        return self._binding._load_for_executorch(self._model_file, enable_etdump=True)

    def set_threads(self, count: int) -> None:
        with quiet():
            # A module that has run holds on to the pool: resetting it then waits for ever. A fresh one does not.
            if self._has_run:
                self._module = None
                self._binding._unsafe_reset_threadpool(count)
                self._module, self._has_run = self._binding._load_for_executorch(self._model_file), False
            else:
                self._binding._unsafe_reset_threadpool(count)


def _numbered(kind: str, count: int, meta_of: Callable[[int], Any]) -> tuple[TensorSpec, ...]:
    specs = []
    for index in range(count):
        meta = meta_of(index)
        name = kind if count == 1 else f"{kind}_{index}"
        specs.append(TensorSpec(name, tuple(meta.sizes()), NUMPY_NAMES[meta.dtype()]))
    return tuple(specs)


def open(model_file: Path, inputs: Sequence[TensorSpec] | None = None, outputs: Sequence[TensorSpec] | None = None) -> Session:
    """The session of a `.pte` file."""
    return ExecuTorchSession(model_file, inputs, outputs)
