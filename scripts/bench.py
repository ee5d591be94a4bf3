"""Edgekit's artifacts and their rivals, made from the same module and weights, measured interleaved on one core."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import torch

import edgekit
from edgekit import console
from edgekit.ops.ska import definition
from edgekit.profiling import table
from edgekit.quiet import quiet

REPORTS = Path(__file__).parent.parent / "reports"


def exported(module: torch.nn.Module, image: torch.Tensor) -> torch.export.ExportedProgram:
    """The module as the exporters take it. None of them knows SKA: its pure-PyTorch definition stands in, as it would in a
    user's own copy of the model."""
    program = torch.export.export(module, (image,))
    return program.run_decompositions({torch.ops.edgekit.ska.default: definition})


def torch_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    """What a user would do without edgekit: `torch.onnx.export`, then onnxsim."""
    import onnx
    import onnxsim

    made = torch.onnx.export(program, (), external_data=False, verbose=False)
    assert made is not None
    simplified, same = onnxsim.simplify(made.model_proto)
    assert same
    onnx.save(simplified, str(path))


def torch_executorch(program: torch.export.ExportedProgram, path: Path) -> None:
    """What a user would do without edgekit: `to_edge_transform_and_lower` with the XNNPACK partitioner."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    path.write_bytes(to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)


def main(model: str = "lsnet_t") -> None:
    """Make the subjects, measure them, print the table and keep it with its samples."""
    with tempfile.TemporaryDirectory() as scratch:
        ours = [edgekit.export(model, target, output=scratch).directory for target in ("onnx", "executorch")]
        module = edgekit.load_model(model)
        [spec] = edgekit.open(ours[0]).inputs
        image = torch.randn(spec.shape, generator=torch.Generator().manual_seed(0))
        rivals = [Path(scratch, "torch.onnx+onnxsim.onnx"), Path(scratch, "to_edge_transform_and_lower.pte")]
        with quiet():
            torch_onnx(exported(module, image), rivals[0])
            torch_executorch(exported(module, image), rivals[1])
        measurements = edgekit.profile([rivals[0], rivals[1], *ours, model], threads=1)
    # The scratch folder is gone and nobody else has it: reports name the files alone.
    measurements = [dataclasses.replace(measured, subject=Path(measured.subject).name) for measured in measurements]
    rows = table.rows(measurements)
    console.show_table(list(rows[0]), [list(row.values()) for row in rows])
    lines = [
        f"# {model} on one core\n",
        f"Made by `scripts/bench {model}` on {measurements[0].fingerprint.cpu}, fp32, all subjects interleaved in one run.\n",
        "| " + " | ".join(rows[0]) + " |",
        "|" + "---|" * len(rows[0]),
        *("| " + " | ".join(row.values()) + " |" for row in rows),
    ]
    (REPORTS / f"bench_{model}.md").write_text("\n".join(lines) + "\n")
    (REPORTS / f"bench_{model}.json").write_text(json.dumps([m.as_dict() for m in measurements]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
