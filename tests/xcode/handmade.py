"""A reference of every type and shape that Core ML's borders know, with names that need quoting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekit.runtimes import Array

INPUTS: dict[str, Array] = {
    "ein bild": np.arange(2 * 3 * 4, dtype=np.float32).reshape(1, 2, 3, 4) / 7,
    'größe "x"': np.array([[3, -1]], dtype=np.int64),
    "maske": np.array([True, False]),
    "halb": np.array([0.5, -2], dtype=np.float16),
}
OUTPUTS: dict[str, Array] = {
    "merkmale": np.linspace(-1, 1, 24, dtype=np.float32).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2),
    "klasse": np.array(7),
}
Build = Callable[..., Path]
