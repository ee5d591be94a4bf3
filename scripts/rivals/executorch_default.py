"""ExecuTorch as its documentation has it: `to_edge_transform_and_lower` with the XNNPACK partitioner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.runtimes import Session, TensorSpec, executorch

if TYPE_CHECKING:
    from rival import Source

VARIANTS: dict[str, dict[str, Any]] = {"ExecuTorch": {}}
REQUIRES = ("executorch",)
LIBRARIES = executorch.LIBRARIES


def convert(source: Source, folder: Path) -> None:
    """Lower for XNNPACK."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with torch.no_grad():
        lowered = to_edge_transform_and_lower(source.program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / "model.pte").write_bytes(lowered.buffer)


def open(folder: Path, inputs: Sequence[TensorSpec] | None, outputs: Sequence[TensorSpec] | None) -> Session:
    """The program, in ExecuTorch's own runtime."""
    return executorch.open(folder / "model.pte")
