"""Core ML off a Mac: a reference interpreter of ML programs, for right answers, not for speed.

It reads a saved `.mlpackage` and executes it with torch on any system, so that the converted model can be compared with the
original before a phone is at hand. Its timings say nothing of a phone's. `runtimes/coreml.py` opens packages with it where
Core ML does not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import ArtifactError
from edgekit.runtimes import REFERENCE, Array, Session, TensorSpec

if TYPE_CHECKING:
    from edgekit.runtimes.coreml_reference.interpreter import Mode, Observer
    from edgekit.runtimes.coreml_reference.package import Function

SUFFIX = ""
LIBRARIES = ("coremltools", "torch")

_NUMPY_NAMES = {"fp16": "float16", "fp32": "float32", "fp64": "float64", "string": "str", "dict": "float32"}


class CoreMLReferenceSession(Session):
    """A function of a package. States are zero at first, and each run finds them as the last one left them."""

    observer: Observer | None = None
    """Sees every result of a run; see `Program.run`."""

    def __init__(
        self,
        model_file: Path,
        inputs: Sequence[TensorSpec] | None,
        outputs: Sequence[TensorSpec] | None,
        mode: Mode,
        function: str | None,
    ) -> None:
        import torch

        from edgekit.runtimes.coreml_reference import package
        from edgekit.runtimes.coreml_reference.interpreter import Program

        loaded = package.load(model_file, function)
        self._program = Program(loaded, mode)
        self.runtime = f"Core ML {REFERENCE} ({'fp32' if mode == 'fp32' else 'as declared'}, torch {torch.__version__})"
        self.inputs = tuple(inputs or (spec(loaded, name) for name in loaded.inputs))
        self.outputs = tuple(outputs or (spec(loaded, name) for name in loaded.outputs))
        for kind, specs, names in (("input", self.inputs, loaded.inputs), ("output", self.outputs, loaded.body.outputs)):
            if unknown := [spec.name for spec in specs if spec.name not in names]:
                raise ArtifactError(
                    f"{model_file} has no {kind} {unknown[0]!r}, which its manifest names",
                    cause=f"its {kind}s are {', '.join(names)}",
                    next_step="export it again",
                )

    def _require_one_batch(self, arrays: Sequence[Array]) -> None:
        """Nothing: sizes that a package leaves open need not be batches."""

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        import torch

        declared = self._program.function.inputs
        given = {}
        for spec, array in zip(self.inputs, arrays, strict=True):
            # a number of rank 0 has rank 1 at Core ML's border
            fitted = array.reshape(1) if not array.ndim and declared[spec.name].shape else array
            given[spec.name] = torch.from_numpy(fitted if fitted.flags.writeable else fitted.copy())
        found = self._program.run(given, self.observer)
        # copies, for an output may be an input, a constant or a state itself
        outputs = [np.array(found[spec.name], dtype=spec.dtype) for spec in self.outputs]
        return [o if spec.shape else o.reshape(()) for o, spec in zip(outputs, self.outputs, strict=True)]

    def set_threads(self, count: int) -> None:
        import torch

        torch.set_num_threads(count)

    @property
    def function(self) -> Function:
        """What it runs, as the package holds it."""
        return self._program.function

    def reset_states(self) -> None:
        """All states zero again."""
        self._program.reset_states()


def spec(function: Function, name: str) -> TensorSpec:
    """An input or output as the package describes it; sizes that depend on the inputs are the described default, or -1.
    Images are arrays as the program takes them: [1, channels, height, width] from 0 to 255."""
    declared = {**function.results, **function.inputs}[name]
    described = function.border.get(name, declared)
    shape = tuple(-1 if size is None else size for size in described.shape or declared.shape)
    return TensorSpec(name, shape, numpy_name(described.dtype), choices=function.choices.get(name, ()))


def numpy_name(dtype: str) -> str:
    """What numpy calls a dtype of MIL's."""
    return _NUMPY_NAMES.get(dtype, dtype)


def open(
    model_file: Path,
    inputs: Sequence[TensorSpec] | None = None,
    outputs: Sequence[TensorSpec] | None = None,
    *,
    mode: Mode = "declared",
    function: str | None = None,
) -> CoreMLReferenceSession:
    """The session of an mlprogram package: of its default function, or of `function`.

    In mode `fp32` every float tensor is computed in fp32 (is the conversion right?); in `declared` each is rounded to its
    declared type (is the precision enough?). Raises ArtifactError for a damaged package, Unsupported for one that is no
    ML program or holds operators that edgekit does not execute.
    """
    return CoreMLReferenceSession(model_file, inputs, outputs, mode, function)
