"""PyTorch eager."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgekit.runtimes import TensorSpec, eager

if TYPE_CHECKING:
    from rival import Source

VARIANTS: dict[str, dict[str, Any]] = {"PyTorch eager": {}}
REQUIRES = ("torch",)
LIBRARIES = ("torch",)


def convert(source: Source, folder: Path) -> None:
    """The module with its example inputs, pickled."""
    torch.save((source.module, source.inputs, source.output_names), folder / "module.pt")


def open(folder: Path, inputs: Sequence[TensorSpec] | None, outputs: Sequence[TensorSpec] | None) -> eager.EagerSession:
    """The module as it is."""
    return eager.EagerSession(*torch.load(folder / "module.pt", weights_only=False))
