"""The weights of `tests/golden` for any variant, as a checkpoint: the seeded rule, and BatchNorm statistics beside it."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from edgekit import cache, models, scratch, weights

VECTORS = Path(__file__).parent.parent / "tests" / "golden"
_BATCHES = 4
"""Of two seeded images each, for the statistics that the vectors lack."""


def checkpoint(model: str) -> tuple[str, Path]:
    """Where the BatchNorm statistics are from, in words, and the checkpoint of a variant: in edgekit's cache, for what is
    exported from the same place is found again."""
    rule = runpy.run_path(str(VECTORS / "seeded.py"))
    variant = models.find(model)
    module = models.build(variant)
    rule["fill"](module)
    if vectors := _vectors(model):
        with np.load(vectors) as arrays:
            statistics = {key: torch.from_numpy(arrays[key]) for key in arrays.files if key != "logits"}
        module.load_state_dict({**module.state_dict(), **statistics})
        source = "the golden vectors"
    else:
        shape = (2, *variant.input_shape[1:])
        weights.calibrate(module, [torch.from_numpy(rule["seeded_input"](shape, seed)) for seed in range(_BATCHES)])
        source = f"{_BATCHES} batches in training mode"
    path = cache.folder() / "golden" / f"{variant.name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch.folder(path.parent) as staging:
        safetensors.torch.save_file(module.state_dict(), staging / path.name)
        (staging / path.name).replace(path)
    return source, path


def _vectors(model: str) -> Path | None:
    """The file of a variant's golden vectors: under its own name, or its family's for the smallest."""
    names = [path for path in sorted(VECTORS.glob("*.npz")) if models.find(path.stem).name == models.find(model).name]
    return names[0] if names else None
