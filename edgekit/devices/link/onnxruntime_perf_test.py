"""ONNX Runtime's `onnxruntime_perf_test` (onnxruntime/test/perftest).

Its first run is not among those it writes to its result file, a line each: model, seconds, peak bytes, CPU use, number. It
prints that run's time in whole milliseconds. What the model gave it keeps to itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from edgekit.devices.link.phone_runner import RESULT, Told
from edgekit.runtimes import Array

NAME: Final = "onnxruntime_perf_test"
VARIABLE: Final = "EDGEKIT_ONNXRUNTIME_PERF_TEST"
TARGET: Final = "onnx"
RUNTIME: Final = "onnxruntime"
GIVES_OUTPUTS: Final = False
SPINS: Final = True
LOGS: Final = None

_NUMBER = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_CREATED = re.compile(rf"Session creation time cost: {_NUMBER} s")
_FIRST = re.compile(r"First inference time cost: (\d+) ms")
_RUN = re.compile(rf"^[^\n]*,{_NUMBER},(\d+),-?\d+,(\d+)$", re.MULTILINE)


def input_files(inputs: Mapping[str, Array]) -> dict[str, bytes]:
    """A TensorProto for each input, where it looks for them."""
    from onnx import numpy_helper

    return {
        f"test_data_set_0/input_{index}.pb": numpy_helper.from_array(array, name).SerializeToString()
        for index, (name, array) in enumerate(inputs.items())
    }


def arguments(model: str, inputs: list[str], *, runs: int, threads: int, spinning: bool | None, outputs: bool) -> list[str]:
    """It finds `inputs` beside the model, and has no `outputs`."""
    waiting = ["-D"] if spinning is False else []
    return ["-e", "cpu", "-m", "times", "-r", str(runs), "-x", str(threads), "-y", "1", *waiting, model, RESULT]


def read(text: str) -> Told:
    """What it printed, with its result file after it. Times there have six digits."""
    runs: list[float] = []
    peaks: list[int] = []
    for seconds, peak, number in _RUN.findall(text):
        if int(number) != len(runs):
            break
        runs.append(float(seconds))
        peaks.append(int(peak))
    created, first = _CREATED.search(text), _FIRST.search(text)
    return Told(
        tuple(runs),
        load_s=float(created[1]) if created else None,
        first_run_s=int(first[1]) / 1000 if first else None,
        peak_bytes=max(peaks, default=None),
    )
