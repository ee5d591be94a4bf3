"""Measures what models cost: latency with intervals, load time, memory, energy, and the floor they could reach.

::

    [measurement] = profile(["lsnet_t.onnx"])
    print(measurement.p50_s.value)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.profiling.comparison import ratio
    from edgekit.profiling.measurement import Estimate, Fingerprint, Floor, Measurement, Process
    from edgekit.profiling.settings import Settings

__all__ = ["Estimate", "Fingerprint", "Floor", "Measurement", "Process", "Settings", "profile", "ratio"]


def __getattr__(name: str) -> object:
    """The public names, when they are first used: every measuring process imports this package."""
    if name not in __all__:
        raise AttributeError(f"module 'edgekit.profiling' has no attribute {name!r}")
    home = {"ratio": "comparison", "Settings": "settings"}.get(name, "measurement")
    return getattr(importlib.import_module(f"edgekit.profiling.{home}"), name)


def profile(
    subjects: Sequence[str | Path],
    *,
    device: str = "host",
    settings: Settings | None = None,
    record: Path | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Measurement]:
    """Measure `subjects` side by side on `device`: artifact directories, model files, model names (PyTorch eager), or
    `RUNTIME.py:MODEL` for a runtime of one's own (`edgekit.runtimes.own`).

    `record` names a file that receives every exchange with the device, for `replay:FILE`. `progress` is told the steps done
    and their total. A subject may be given twice, to see what noise alone does.

    Raises UsageError for a request that cannot be, UnknownName for a device or model that does not exist, ArtifactError
    for a damaged artifact, Unsupported for a device out of reach or a runtime that it lacks, EdgekitError when a model
    crashes, and Interrupted, which carries what was measured, for whatever ends the job once there are samples.
    """
    import edgekit
    from edgekit import devices
    from edgekit.devices.link.tape import Live, Recording, Tape
    from edgekit.errors import UsageError
    from edgekit.profiling import job
    from edgekit.profiling.settings import Settings
    from edgekit.profiling.subject import describe

    if not subjects:
        raise UsageError("nothing to measure", next_step="name an artifact, a model file or a model")
    settings = settings or Settings()
    described = [describe(subject, batch) for subject in subjects for batch in settings.batches or (None,)]
    tape: Tape = Live() if record is None else Recording(record, {"device": device, "edgekit": edgekit.__version__})
    try:
        with devices.connect(device, tape) as reached:
            return job.measure(reached, described, settings, progress=progress)
    finally:
        tape.close()
