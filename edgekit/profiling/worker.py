"""The measuring process: one subject in a fresh process, so that cold load and peak memory are its own.

Run as `python -m edgekit.profiling.worker`. It takes one JSON object a line on standard input (`do`, and that
command's arguments), gives one a line on standard output (`answer`, or `error`: a pickled EdgekitError in base64), and
ends when standard input does, even in the middle of a run, so that it cannot outlive its parent. Any other exception
ends it; its traceback is then the end of the log that standard error is.
"""

from __future__ import annotations

import base64
import functools
import gc
import importlib
import json
import os
import pickle
import queue
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgekit import runtimes
from edgekit.errors import EdgekitError, InputError
from edgekit.profiling import machine, roofline, timing
from edgekit.runtimes import Array, Session, TensorSpec

_INPUTS = "standard normal, seed 0 (integers: 0 or 1)"


class _Host:
    """The commands. A subject is opened once, warmed up, run block by block, and finished."""

    def open(self, subject: str, threads: int, core: int | None, shapes: list[list[int]] | None = None) -> dict[str, Any]:
        """Open and run once. Memory and time of the runtime's own libraries are not the model's."""
        if core is not None:
            machine.pin(core)
        _import_libraries(subject)
        self._resident_before = machine.resident_bytes()
        started = time.perf_counter()
        self._session: Session = runtimes.open(subject)
        cold_load_s = time.perf_counter() - started
        self._threads = None if self._session.chooses_threads else threads
        if self._threads is not None:
            self._session.set_threads(threads)
        specs = self._session.inputs
        if shapes:  # those of the example, where the file takes any batch
            specs = tuple(replace(spec, shape=tuple(sizes)) for spec, sizes in zip(specs, shapes, strict=True))
        arrays = [_input(spec, subject) for spec in specs]
        # `execute`, not `run`: checking the arrays each time is edgekit's cost, not the runtime's.
        self._run = functools.partial(self._session.execute, arrays)
        started = time.perf_counter()
        outputs = self._run()
        first_run_s = time.perf_counter() - started
        gc.collect()
        gc.disable()
        return {
            "runtime": self._session.runtime,
            "threads": self._threads,
            "inputs": _INPUTS,
            "cold_load_s": cold_load_s,
            "first_run_s": first_run_s,
            "io_bytes": sum(array.nbytes for array in (*arrays, *outputs)),
            "macs": getattr(self._session, "macs", None),
            "weight_bytes": getattr(self._session, "weight_bytes", None),
        }

    def warm_up(self) -> dict[str, Any]:
        """Run until steady."""
        result = timing.warm_up(self._run, clock=time.perf_counter)
        return {"runs": result.runs, "seconds": result.seconds, "steady": result.steady}

    def block(self, duration_s: float) -> dict[str, Any]:
        """Seconds of each run of one block, to the nanosecond, and the share of the block spent waiting for a core."""
        before_s, started = machine.core_wait_s(), time.perf_counter()
        latency_s = timing.block(self._run, clock=time.perf_counter, duration_s=duration_s)
        after_s, elapsed_s = machine.core_wait_s(), time.perf_counter() - started
        if before_s is None or after_s is None or self._threads is None:
            waited = None
        else:
            waited = (after_s - before_s) / elapsed_s / self._threads
        return {"latency_s": [round(seconds, 9) for seconds in latency_s], "waited_share": waited}

    def finish(self) -> dict[str, int]:
        """The memory it took."""
        return {
            "load_memory_bytes": machine.resident_bytes() - self._resident_before,
            "peak_memory_bytes": machine.peak_resident_bytes(),
        }

    def peak(self, threads: int, core: int | None) -> dict[str, Any]:
        """The machine's best, measured as the subjects are: same threads, same core."""
        if core is not None:
            machine.pin(core)
        return roofline.measure_peak(threads)


def _import_libraries(subject: str) -> None:
    """Import what the subject's runtime says its `open` imports (`LIBRARIES`)."""
    if Path(subject).exists():
        runtime = runtimes.find(Path(subject).suffix)
    elif found := runtimes.own(subject):
        runtime, _ = found
    else:
        runtime = importlib.import_module(_EAGER)
    for library in runtime.LIBRARIES:
        importlib.import_module(library)


_EAGER = "edgekit.runtimes.eager"


def _input(spec: TensorSpec, subject: str) -> Array:
    if not all(isinstance(size, int) and size >= 0 for size in spec.shape):
        raise InputError(
            f"{subject} cannot be timed as it is",
            cause=f"its input {spec.name!r} has a dynamic shape, {list(spec.shape)}",
            next_step="export it for a fixed input shape",
        )
    generator, dtype = np.random.default_rng(0), np.dtype(spec.dtype)
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(spec.shape).astype(dtype)
    return generator.integers(0, 2, spec.shape).astype(dtype)


def _take_over_streams() -> tuple[IO[str], IO[str]]:
    """Requests and answers, moved off descriptors 0 and 1, where libraries would eat the one and soil the other."""
    requests, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.dup2(2, 1)
    return requests, answers


def _listen(requests: IO[str], received: queue.SimpleQueue[str]) -> None:
    """Pass requests on. At their end the parent has gone: end at once, nobody waits for an answer."""
    for line in requests:
        received.put(line)
    os._exit(0)


def main() -> None:
    """Answer requests, one after another."""
    requests, answers = _take_over_streams()
    received: queue.SimpleQueue[str] = queue.SimpleQueue()
    # The thread sleeps in its read while models run, and costs them nothing.
    threading.Thread(target=_listen, args=(requests, received), daemon=True).start()
    host = _Host()
    while True:
        request = json.loads(received.get())
        try:
            reply: dict[str, Any] = {"answer": getattr(host, request.pop("do"))(**request)}
        except EdgekitError as error:
            reply = {"error": base64.b64encode(pickle.dumps(error)).decode()}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
