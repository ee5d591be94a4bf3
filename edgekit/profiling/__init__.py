"""Measures what models cost: latency with intervals, load time, memory, and the floor they could reach.

::

    [measurement] = profile(["lsnet_t.onnx"])
    print(measurement.p50_s.value)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgekit import devices, profiles
from edgekit.errors import UsageError
from edgekit.profiling.comparison import ratio
from edgekit.profiling.measurement import Estimate, Fingerprint, Floor, Measurement, Process

__all__ = ["Estimate", "Fingerprint", "Floor", "Measurement", "Process", "profile", "ratio"]


def profile(
    subjects: Sequence[str | Path],
    *,
    device: str = "host",
    threads: int = 1,
    duration_s: float = 4.0,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Measurement]:
    """Measure `subjects` side by side on `device`: artifact directories, model files, model names (PyTorch eager), or
    `RUNTIME.py:MODEL` for a runtime of one's own (`edgekit.runtimes.own`).

    `duration_s` is the time of the timed runs of one subject, over all its processes; loading and warming up come on
    top. `progress` is told the steps done and their total. A subject may be given twice, to see what noise alone does.

    Raises UsageError for a request that cannot be, UnknownName for a device or model that does not exist, ArtifactError
    for a damaged artifact, Unsupported for a device out of reach or a runtime that this machine lacks, and EdgekitError
    when a model crashes.
    """
    if not subjects:
        raise UsageError("nothing to measure", next_step="name an artifact, a model file or a model")
    if not 0 < duration_s < float("inf"):
        raise UsageError(f"cannot measure for {duration_s} s", next_step="give a positive number of seconds")
    profile = profiles.load(device)
    transport = devices.reach(profile)
    measured: list[Measurement] = transport.measure(
        subjects, device=profile.name, threads=threads, duration_s=duration_s, progress=progress
    )
    return measured
