"""What a training run is, and what it does at each moment of its schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

_WARMUP = 0.1
"""The share of the schedule in which the learning rate rises."""
_GROWTH = 0.6
"""The share of the schedule in which images grow, from the first size to the last, in equal parts."""
_SIZE_STEP = 16


@dataclass(frozen=True)
class Settings:
    """Everything that decides the weights, beside the data and the versions of the libraries."""

    model: str
    input_size: int
    first_size: int
    epochs: float
    minutes: float
    batch: int
    learning_rate: float
    weight_decay: float
    smoothing: float
    bf16: bool
    seed: int

    def progress(self, epochs: float, minutes: float) -> float:
        """How far the schedule has come after so much training, from 0 to 1, where it ends."""
        return min(1.0, max(epochs / self.epochs, minutes / self.minutes))

    def rate(self, progress: float) -> float:
        """The learning rate: a linear rise, then half a cosine down to nothing."""
        if progress < _WARMUP:
            return self.learning_rate * (0.02 + 0.98 * progress / _WARMUP)
        return self.learning_rate * (1 + math.cos(math.pi * (progress - _WARMUP) / (1 - _WARMUP))) / 2

    def size(self, progress: float) -> int:
        """The images' side in pixels: small ones first are learned from several times as fast."""
        sizes: list[int] = [*range(self.first_size, self.input_size, _SIZE_STEP), self.input_size]
        place = int(progress / _GROWTH * (len(sizes) - 1))
        return sizes[min(place, len(sizes) - 1)]
