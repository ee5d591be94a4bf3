"""A runtime that takes exactly 3 % longer than the artifact's own: a known slowdown for `scripts/calibrate_statistics`.

As a subject: `scripts/calibration/slowed.py:ARTIFACT`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from edgekit import runtimes
from edgekit.runtimes import Array, Session, TensorSpec

LIBRARIES = ("onnxruntime",)
SLOWDOWN = 1.03


class Slowed(Session):
    """Runs the artifact, then keeps its core for as much longer as makes `SLOWDOWN` times the work, whoever else takes the
    core meanwhile."""

    def __init__(self, artifact: Path) -> None:
        self._session = runtimes.open(artifact)
        self.runtime = f"{self._session.runtime}, slowed"
        self.inputs, self.outputs = self._session.inputs, self._session.outputs

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        started = time.thread_time()
        outputs = self._session.execute(arrays)
        until = started + SLOWDOWN * (time.thread_time() - started)
        while time.thread_time() < until:
            pass
        return outputs

    def set_threads(self, count: int) -> None:
        self._session.set_threads(count)


def open(artifact: Path, inputs: Sequence[TensorSpec] | None, outputs: Sequence[TensorSpec] | None) -> Session:
    """The session of an artifact's directory."""
    return Slowed(artifact)
