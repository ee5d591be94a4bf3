"""Core ML through coremltools on macOS; anywhere else the reference interpreter, which computes the same.

Unverified on hardware: no Mac has run this file yet.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import ArtifactError, Unsupported
from edgekit.quiet import quiet
from edgekit.runtimes import Array, Session, TensorSpec, coreml_reference

SUFFIX = ".mlpackage"
LIBRARIES = ("coremltools", "torch")


class CoreMLSession(Session):
    """An `MLModel` of coremltools on all compute units: its default function. States are zero at first, and each run finds them
    as the last one left them."""

    chooses_threads = True

    def __init__(self, model_file: Path, inputs: Sequence[TensorSpec] | None, outputs: Sequence[TensorSpec] | None) -> None:
        """Raises ArtifactError for a damaged package and for one that Core ML does not compile, Unsupported for one that
        takes or gives what is no array, or is newer than this system."""
        from importlib import metadata

        from edgekit.runtimes.coreml_reference import package

        spec, _ = package.specification(model_file)
        self._model_file, self._model = model_file, _compiled(model_file, spec.specificationVersion)
        self.runtime = f"coreml (coremltools {metadata.version('coremltools')})"
        described = package.description(spec, spec.description.defaultFunctionName)
        self.inputs = tuple(inputs or (_spec(model_file, feature) for feature in described.input))
        self.outputs = tuple(outputs or (_spec(model_file, feature) for feature in described.output))
        self._scalars = {spec.name for spec in outputs or () if not spec.shape}
        self._state = self._model.make_state() if len(described.state) else None

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        feed = {spec.name: outside(array) for spec, array in zip(self.inputs, arrays, strict=True)}
        try:
            found = self._model.predict(feed, self._state)
        except Exception as error:  # Core ML's own failures arrive as RuntimeError, coremltools' as plain Exception
            raise Unsupported(
                f"Core ML cannot run {self._model_file}",
                cause=str(error).strip() or type(error).__name__,
                next_step="see what the reference interpreter says of it: edgekit.runtimes.coreml_reference.open(...)",
            ) from error
        outputs = {spec.name: np.asarray(found[spec.name], dtype=spec.dtype) for spec in self.outputs}
        # a number of rank 0 has rank 1 at Core ML's border
        return [array.reshape(()) if name in self._scalars else array for name, array in outputs.items()]

    def set_threads(self, count: int) -> None:
        raise Unsupported(
            "Core ML chooses its own threads", next_step="compare it with runtimes on other devices by latency alone"
        )


def _compiled(model_file: Path, version: int) -> Any:
    """The loaded `MLModel`. coremltools tells of one that Core ML refuses by a warning, and fails when it is run."""
    with quiet():
        import coremltools

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            model = coremltools.models.MLModel(str(model_file))
    try:
        model.get_compiled_model_path()
    except Exception as error:  # coremltools raises no class of its own
        reasons = [str(warning.message) for warning in told if issubclass(warning.category, RuntimeWarning)]
        if not reasons:
            raise Unsupported(
                f"Core ML here does not load {model_file}",
                cause=f"it is of specification version {version}, which this macOS is too old for, or Core ML is missing",
                next_step="update macOS, or export for an older one (minimum_os of the device profile)",
            ) from error
        raise ArtifactError(
            f"Core ML does not compile {model_file}",
            cause=reasons[-1],
            next_step="export it again; if that fails too, report the model",
        ) from error
    return model


def outside(array: Array) -> Array:
    """As Core ML takes it: float32, or int32 for whole numbers and truth values; of rank 1 at least."""
    return np.atleast_1d(array).astype(np.float32 if np.issubdtype(array.dtype, np.floating) else np.int32)


def _spec(model_file: Path, feature: Any) -> TensorSpec:
    """An input or output as the package describes it. Raises Unsupported for one that is no array."""
    from edgekit.runtimes.coreml_reference import package

    described = package.border_of(feature.type)
    if described is None or feature.type.WhichOneof("Type") == "imageType":
        kind = feature.type.WhichOneof("Type").removesuffix("Type")
        raise Unsupported(
            f"{model_file}: {feature.name!r} is no array but of Core ML's type {kind}",
            cause="edgekit gives Core ML arrays and takes arrays from it",
            next_step="convert the model with arrays at its borders (coremltools.TensorType)",
        )
    shape = tuple(-1 if size is None else size for size in described.shape)
    dtype = coreml_reference.numpy_name(described.dtype)
    return TensorSpec(feature.name, shape, dtype, choices=package.choices_of(feature.type))


def open(model_file: Path, inputs: Sequence[TensorSpec] | None = None, outputs: Sequence[TensorSpec] | None = None) -> Session:
    """The session of an mlpackage: Core ML's on macOS, the reference interpreter's elsewhere."""
    if sys.platform == "darwin":
        return CoreMLSession(model_file, inputs, outputs)
    return open_stand_in(model_file, inputs, outputs)


def open_stand_in(
    model_file: Path, inputs: Sequence[TensorSpec] | None = None, outputs: Sequence[TensorSpec] | None = None
) -> Session:
    """What stands in for Core ML elsewhere: the reference interpreter, computing as declared."""
    return coreml_reference.open(model_file, inputs, outputs)


def open_in_fp32(
    model_file: Path, inputs: Sequence[TensorSpec] | None = None, outputs: Sequence[TensorSpec] | None = None
) -> Session:
    """The same program with every float tensor computed in fp32, and none rounded to integers."""
    return coreml_reference.open(model_file, inputs, outputs, mode="unrounded")
