"""Core ML: an mlprogram package for the profile's oldest iOS, in fp16 or fp32. Converts on Linux and macOS alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.profiles import RuntimeProfile

if TYPE_CHECKING:
    from edgekit.program import Program

PRECISIONS = ("fp16", "fp32")
DEVICE = "iphone"
REQUIRES = ("torch", "coremltools")


def lower(program: Program, profile: RuntimeProfile, directory: Path) -> list[Path]:
    """Write `model.mlpackage`; inputs and outputs stay float32 whatever it computes in."""
    import coremltools
    import numpy as np

    forward = program.functions["forward"]
    compute = coremltools.precision.FLOAT16 if program.precision == "fp16" else coremltools.precision.FLOAT32
    model = coremltools.convert(
        program.export().run_decompositions({}),
        inputs=[
            coremltools.TensorType(name=name, shape=tuple(tensor.shape)) for name, tensor in forward.example_inputs.items()
        ],
        outputs=[coremltools.TensorType(name=name, dtype=np.float32) for name in forward.output_names],
        convert_to="mlprogram",
        minimum_deployment_target=coremltools.target[profile.minimum_os or "iOS17"],
        compute_precision=compute,
        skip_model_load=True,
    )
    path = directory / "model.mlpackage"
    model.save(str(path))
    return [path]
