"""ExecuTorch: a `.pte` program whose subgraphs are delegated to XNNPACK, the rest to portable kernels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.profiles import RuntimeProfile

if TYPE_CHECKING:
    from edgekit.program import Program

PRECISIONS = ("fp32",)
DEVICE = "host"
REQUIRES = ("torch", "executorch.exir", "executorch.backends.xnnpack.partition.xnnpack_partitioner")


def lower(program: Program, profile: RuntimeProfile, directory: Path) -> list[Path]:
    """Write `model.pte`."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    # Not maxima: this partitioner takes all, its lowering then fails on those along channels or without `keepdim`.
    taken = [config for config in ALL_PARTITIONER_CONFIGS if config.target_name != "max.dim"]
    edge = to_edge_transform_and_lower(program.export(), partitioner=[XnnpackPartitioner(taken)])
    path = directory / "model.pte"
    with path.open("wb") as stream:
        edge.to_executorch().write_to_file(stream)
    return [path]
