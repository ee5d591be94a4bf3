"""The end of a classifier."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def classify(probabilities: Tensor, classes: list[Any]) -> list[Any]:
    """The most probable class, and the probabilities in the order of `classes` (Core ML gives them by class)."""
    flat = probabilities.flatten()
    return [classes[int(flat.argmax())], flat]
