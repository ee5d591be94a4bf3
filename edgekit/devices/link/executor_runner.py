"""ExecuTorch's `executor_runner` (examples/portable/executor_runner), of 1.3 or later: earlier ones print no single run.

It logs to standard error, or, built for Android's log, to logcat, with the tag `ExecuTorch`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import numpy as np

from edgekit.devices.link.phone_runner import OUTPUT, Told
from edgekit.runtimes import Array

NAME: Final = "executor_runner"
VARIABLE: Final = "EDGEKIT_EXECUTOR_RUNNER"
TARGET: Final = "executorch"
RUNTIME: Final = "executorch"
GIVES_OUTPUTS: Final = True
SPINS: Final = False
LOGS: Final = "ExecuTorch"
"""The tag of its lines, where it logs to logcat."""

_LOADED = re.compile(r"Model loaded in (\d+\.\d+) ms\.")
_RUN = re.compile(r"Iteration (\d+) of \d+: (\d+\.\d+) ms")


def input_files(inputs: Mapping[str, Array]) -> dict[str, bytes]:
    """Each input's bytes, in the order of the method's inputs."""
    return {f"input_{index}.bin": np.ascontiguousarray(array).tobytes() for index, array in enumerate(inputs.values())}


def arguments(model: str, inputs: list[str], *, runs: int, threads: int, spinning: bool | None, outputs: bool) -> list[str]:
    """`outputs` asks for what the last run gave, in files `edgekit_output-I.bin`."""
    told = [f"--model_path={model}", f"--inputs={','.join(inputs)}", f"--num_executions={runs + 1}"]
    written = [f"--output_file={OUTPUT}"] if outputs else []
    return [*told, f"--cpu_threads={threads}", "--print_output=none", *written]


def read(text: str) -> Told:
    """What it logged. Android's log may still hold what an earlier process logged: each starts with loading."""
    loads = list(_LOADED.finditer(text))
    if not loads:
        return Told()
    runs: list[float] = []
    for found in _RUN.finditer(text, loads[-1].end()):
        if int(found[1]) != len(runs) + 1:
            break
        runs.append(float(found[2]) / 1000)
    first = runs[0] if runs else None
    return Told(tuple(runs[1:]), load_s=float(loads[-1][1]) / 1000, first_run_s=first)
