"""Small ML programs, built with coremltools' own builder, saved, and run as saved."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
from coremltools.converters import mil
from coremltools.converters.mil.mil import types

from edgekit.quiet import quiet
from edgekit.runtimes import coreml_reference
from edgekit.runtimes.coreml_reference.interpreter import Mode

Arrays = dict[str, np.ndarray]

DTYPES = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32}
TARGETS = {
    15: coremltools.target.iOS15,
    16: coremltools.target.iOS16,
    17: coremltools.target.iOS17,
    18: coremltools.target.iOS18,
}


def save(build: Callable[..., Any], path: Path, given: Arrays, *, ios: int = 17, fp16: bool = False, **options: Any) -> Path:
    """The package of the program that `build` makes of placeholders named and shaped as `given`. No pass changes it."""
    specs = [mil.Builder.TensorSpec(shape=array.shape, dtype=DTYPES[array.dtype.name]) for array in given.values()]
    names = ", ".join(given)
    named: dict[str, Any] = {"build": build}
    exec(f"def main({names}): return build({names})", named)  # the builder names inputs after the function's parameters
    with quiet():
        program = mil.Builder.program(input_specs=specs, opset_version=TARGETS[ios])(named["main"])
        model = coremltools.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=TARGETS[ios],
            compute_precision=coremltools.precision.FLOAT16 if fp16 else coremltools.precision.FLOAT32,
            pass_pipeline=options.pop("pass_pipeline", coremltools.PassPipeline.EMPTY if not fp16 else None),
            skip_model_load=True,
            **options,
        )
        model.save(str(path))
    return path


def run(build: Callable[..., Any], inputs: Arrays, *, mode: Mode = "fp32", **options: Any) -> list[np.ndarray]:
    """The outputs of the program that `build` makes, in order."""
    with tempfile.TemporaryDirectory() as folder:
        path = save(build, Path(folder) / "model.mlpackage", inputs, **options)
        with coreml_reference.open(path, mode=mode) as session:
            given = {spec.name: inputs[spec.name].astype(spec.dtype) for spec in session.inputs}
            return list(session.run(given).values())
