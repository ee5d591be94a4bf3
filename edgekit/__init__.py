"""edgekit: PyTorch models made for phones, as ONNX, Core ML and ExecuTorch artifacts that are right and measured.

The public names are loaded when they are first used, so that importing edgekit is quick and quiet.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.api import bisect, evaluate, export, inspect, load_model, open, predict, profile, verify
    from edgekit.artifact import Artifact
    from edgekit.bisection import Bisection
    from edgekit.errors import EdgekitError
    from edgekit.evaluation.accuracy import Accuracy
    from edgekit.profiling.measurement import Measurement
    from edgekit.profiling.results import load_results
    from edgekit.runtimes import Session

__version__ = "0.1.0"

# ONNX Runtime's wheels report the models they open (file names, hashes) to Microsoft unless told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Accuracy",
    "Artifact",
    "Bisection",
    "EdgekitError",
    "Measurement",
    "Session",
    "bisect",
    "evaluate",
    "export",
    "inspect",
    "load_model",
    "load_results",
    "open",
    "predict",
    "profile",
    "verify",
]

_HOMES = {
    "Accuracy": "evaluation.accuracy",
    "Artifact": "artifact",
    "Bisection": "bisection",
    "EdgekitError": "errors",
    "Measurement": "profiling.measurement",
    "Session": "runtimes",
    "load_results": "profiling.results",
}


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(importlib.import_module(f"edgekit.{_HOMES.get(name, 'api')}"), name)
    raise AttributeError(f"module 'edgekit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
