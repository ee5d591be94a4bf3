"""Core ML through coremltools on macOS; anywhere else the reference interpreter, which computes the same.

Unverified on hardware: no Mac has run this file yet.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import Unsupported
from edgekit.quiet import quiet
from edgekit.runtimes import Array, Session, TensorSpec, coreml_reference

SUFFIX = ".mlpackage"
LIBRARIES = ("coremltools", "torch")


class CoreMLSession(Session):
    """An `MLModel` on all compute units."""

    def __init__(self, model_file: Path, inputs: Sequence[TensorSpec] | None, outputs: Sequence[TensorSpec] | None) -> None:
        with quiet():
            import coremltools
        self._model: Any = coremltools.models.MLModel(str(model_file))
        self.runtime = f"coreml (coremltools {coremltools.__version__})"
        description = self._model.get_spec().description
        self.inputs = tuple(inputs or (_spec(feature) for feature in description.input))
        self.outputs = tuple(outputs or (_spec(feature) for feature in description.output))

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        feed = {spec.name: _outside(array) for spec, array in zip(self.inputs, arrays, strict=True)}
        found = self._model.predict(feed)
        return [np.asarray(found[spec.name], dtype=spec.dtype).reshape(spec.shape) for spec in self.outputs]

    def set_threads(self, count: int) -> None:
        raise Unsupported(
            "Core ML chooses its own threads", next_step="compare it with runtimes on other devices by latency alone"
        )


def _outside(array: Array) -> Array:
    """As Core ML takes it: float32, or int32 for whole numbers and truth values; of rank 1 at least."""
    return np.atleast_1d(array).astype(np.float32 if np.issubdtype(array.dtype, np.floating) else np.int32)


def _spec(feature: object) -> TensorSpec:
    array = feature.type.multiArrayType  # type: ignore[attr-defined]  # a protobuf message without stubs
    return TensorSpec(feature.name, tuple(array.shape), "float32")  # type: ignore[attr-defined]  # likewise


def open(model_file: Path, inputs: Sequence[TensorSpec] | None = None, outputs: Sequence[TensorSpec] | None = None) -> Session:
    """The session of an mlpackage: Core ML's on macOS, the reference interpreter's elsewhere."""
    if sys.platform == "darwin":
        return CoreMLSession(model_file, inputs, outputs)
    return coreml_reference.open(model_file, inputs, outputs)


def open_in_fp32(
    model_file: Path, inputs: Sequence[TensorSpec] | None = None, outputs: Sequence[TensorSpec] | None = None
) -> Session:
    """The same program with every float tensor computed in fp32."""
    return coreml_reference.open(model_file, inputs, outputs, mode="fp32")


def first_loss(model_file: Path, inputs: Mapping[str, Array], bound_sqnr_db: float) -> str:
    """The first operation that computing as declared takes further from fp32 than the bound, in words; empty for none."""
    from edgekit.runtimes.coreml_reference import loss

    return loss.first(model_file, inputs, bound_sqnr_db)
