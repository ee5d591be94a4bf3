"""ExecuTorch: its event tracer knows operators' times, and its wheel is built without one.

A build without it says of itself that it has one, runs, and then writes no file: only that shows it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.profiling.measurement import OperatorProfile
from edgekit.quiet import quiet
from edgekit.runtimes import Array

if TYPE_CHECKING:
    from edgekit.runtimes.executorch import ExecuTorchSession

_NO_TRACER = (
    "this build of ExecuTorch has no event tracer: build it with -DEXECUTORCH_BUILD_DEVTOOLS=ON "
    "-DEXECUTORCH_ENABLE_EVENT_TRACER=ON, run the .pte with its executor_runner and --etdump_path FILE, and read FILE with "
    "executorch.devtools.Inspector"
)
_TRACER = (
    "this build of ExecuTorch has an event tracer, whose files edgekit does not read: write one with its executor_runner and "
    "--etdump_path FILE, and read FILE with executorch.devtools.Inspector"
)


def profile(session: ExecuTorchSession, arrays: Sequence[Array]) -> OperatorProfile:
    """No operators, and how to get their times."""
    return OperatorProfile(reason=_TRACER if _traces(session, arrays) else _NO_TRACER)


def _traces(session: ExecuTorchSession, arrays: Sequence[Array]) -> bool:
    """Whether a traced run leaves a trace."""
    import torch

    with tempfile.TemporaryDirectory() as folder, quiet():
        trace = Path(folder, "run.etdp")
        module = session.traced()
        module.forward([torch.from_numpy(array) for array in arrays])
        module.write_etdump_result_to_file(str(trace))
        return trace.exists()
