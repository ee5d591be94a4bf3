"""Core ML: an mlprogram package for the profile's oldest iOS, in fp16 or fp32. Converts on Linux and macOS alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ConversionError
from edgekit.profiles import RuntimeProfile

if TYPE_CHECKING:
    from edgekit.program import Program

PRECISIONS = ("fp16", "fp32")
DEVICE = "iphone"
REQUIRES = ("torch", "coremltools")


def lower(program: Program, profile: RuntimeProfile, directory: Path) -> list[Path]:
    """Write `model.mlpackage`; inputs and outputs stay float32 whatever it computes in.

    Raises ConversionError, naming the operator and its line, for tensors of more axes than Core ML takes.
    """
    import coremltools
    import numpy as np

    forward = program.functions["forward"]
    compute = coremltools.precision.FLOAT16 if program.precision == "fp16" else coremltools.precision.FLOAT32
    try:
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
    except ValueError as error:
        if "rank" not in str(error):
            raise
        raise _too_many_axes(program, profile, error) from error
    path = directory / "model.mlpackage"
    model.save(str(path))
    return [path]


def _too_many_axes(program: Program, profile: RuntimeProfile, error: ValueError) -> ConversionError:
    """What to tell of a tensor whose rank coremltools refuses: where it is from, and why its rank was left."""
    from edgekit.passes import limit_rank

    graph = program.functions["forward"].graph_module.graph
    lines = {node.name: (node.meta.get("stack_trace") or "").splitlines() for node in graph.nodes}
    left = limit_rank.apply(program, profile).refusals
    reasons = [f"{refusal.node}: {refusal.reason}" for refusal in left]
    at = [line.strip() for refusal in left for line in lines.get(refusal.node.split()[0], [])[-2:]]
    return ConversionError(
        f"Core ML takes no tensor of more than {profile.max_rank} axes",
        cause=" ".join([*reasons[:1], *([f"(at {' '.join(at[:2])})"] if at else [])]) or str(error),
        next_step="write that line with fewer axes at once" if left else "let the pass limit_rank run (leave --passes out)",
    )
