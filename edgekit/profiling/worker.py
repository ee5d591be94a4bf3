"""The measuring process: one subject in a fresh process, so that cold load and peak memory are its own.

Run as `python -m edgekit.profiling.worker`. It takes one JSON object a line on standard input (`do`, and that
command's arguments), gives one a line on standard output (`answer`, or `error`: the fields of an EdgekitError), and
ends when standard input does, even in the middle of a run, so that it cannot outlive its parent. Any other exception
ends it; its traceback is then the end of the log that standard error is. Boards that have no edgekit run it too
(`devices/link/runner.py`): what it imports takes numpy and the runtime alone.
"""

from __future__ import annotations

import base64
import gc
import importlib
import io
import json
import os
import queue
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgekit import runtimes
from edgekit.errors import EdgekitError, InputError
from edgekit.profiling import machine, peak, timing, traces
from edgekit.runtimes import Array, Session, TensorSpec
from edgekit.runtimes.onnxruntime import OnnxRuntimeSession

_INPUTS = "standard normal, seed 0 (integers: 0 or 1)"
_REST_S = 0.01
"""Between two requests of a parent that asks at once lies a tenth of it."""


class _Host:
    """The commands. A subject is opened once, warmed up, run block by block, and finished."""

    def open(
        self,
        subject: str,
        threads: int,
        cores: list[int] | None = None,
        spinning: bool | None = None,
        shapes: list[list[int]] | None = None,
        batch: int | None = None,
        cold: bool = False,
        gpu: int | None = None,
        data: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Open and run once. Memory and time of the runtime's own libraries are not the model's. `data` are files that the
        subject's reads in its folder."""
        if cores is not None:
            machine.pin(cores)
        _import_libraries(subject)
        files = [*_files(subject), *(Path(subject).parent / name for name in data)]
        was_cold = bool(cold and files and machine.forget_files(files))
        gc.collect()
        self._peak_before = machine.peak_resident_bytes()
        self._peak_starts_anew = machine.forget_peak()
        self._resident_before = machine.resident_bytes()
        started = time.perf_counter()
        self._session: Session = runtimes.open(subject)
        load_s = time.perf_counter() - started
        self._threads = None if self._session.chooses_threads else threads
        if spinning is not None:
            self._session.set_spinning(spinning)
        if self._threads is not None:
            self._session.set_threads(threads)
        self._gpu = gpu
        if gpu is not None:
            self._session.use_gpu(gpu)
        specs = _specs(self._session.inputs, shapes, batch)
        self._arrays = arrays = [_input(spec, subject) for spec in specs]
        # `prepared`, not `run`: checking the arrays each time is edgekit's cost, not the runtime's.
        self._run, self._clock = self._session.prepared(arrays), self._session.clock()
        # Where other threads or a GPU compute, a wait of this thread is not the run's.
        self._thread_waited = machine.thread_wait_clock() if self._threads == 1 and gpu is None else None
        started = self._clock()
        outputs = self._run()
        first_run_s = self._clock() - started
        self._ran_until = time.perf_counter()
        gc.collect()
        gc.disable()
        return {
            "runtime": self._session.runtime,
            "threads": self._threads,
            "spinning": self._session.spinning,
            "inputs": _INPUTS,
            "input_shapes": {spec.name: spec.shape for spec in specs},
            "load_s": load_s,
            "load_was_cold": was_cold,
            "first_run_s": first_run_s,
            "io_bytes": sum(array.nbytes for array in arrays) + sum(map(_size_bytes, outputs)),
            "macs": _macs(self._session, batch),
            "weight_bytes": getattr(self._session, "weight_bytes", None),
        }

    def warm_up(self) -> dict[str, Any]:
        """Run until steady."""
        result = timing.warm_up(self._run, clock=self._clock, waited=self._thread_waited)
        self._ran_until = time.perf_counter()
        return {"runs": result.runs, "seconds": result.seconds, "steady": result.steady}

    def block(self, duration_s: float, whole: bool = False) -> dict[str, Any]:
        """Seconds of each run of one block, to the nanosecond, and the share of the block spent waiting for a core. A `whole`
        block goes on untimed when it has its samples before `duration_s` is over."""
        before_s, started = machine.core_wait_s(), time.perf_counter()
        rested = started - self._ran_until > _REST_S
        runs = timing.block(self._run, clock=self._clock, duration_s=duration_s, waited=self._thread_waited, rested=rested)
        if whole:
            self.run_for(max(0.0, duration_s - (time.perf_counter() - started)))
        self._ran_until = time.perf_counter()
        after_s, elapsed_s = machine.core_wait_s(), self._ran_until - started
        if before_s is None or after_s is None or self._threads is None:
            waited = None
        else:
            waited = (after_s - before_s) / elapsed_s / self._threads
        return {
            "latency_s": [round(seconds, 9) for seconds in runs.latency_s],
            "waited_s": runs.waited_s and [round(seconds, 9) for seconds in runs.waited_s],
            "waited_share": waited,
        }

    def run_for(self, duration_s: float) -> int:
        """Run for `duration_s`; how many runs that were."""
        runs, ends = 0, time.perf_counter() + duration_s
        while time.perf_counter() < ends:
            self._run()
            self._clock()  # a GPU's runs are only asked for until its clock is read
            runs += 1
        return runs

    def operators(self) -> dict[str, Any]:
        """Where the time of a run goes: the fields of an `OperatorProfile`. For a process that is not timed as well."""
        from edgekit.profiling import operators

        return asdict(operators.of_session(self._session, self._arrays) if self._gpu is None else operators.ON_A_GPU)

    def trace(self, subject: str) -> dict[str, Any]:
        """What ONNX Runtime traces of the open model, whose nodes have names in the file `subject`."""
        assert isinstance(self._session, OnnxRuntimeSession)
        return traces.of_nodes(self._session, Path(subject), self._arrays)

    def finish(self) -> dict[str, int | None]:
        """The memory it took."""
        peak, before = machine.peak_resident_bytes(), self._resident_before
        # Where the peak cannot start anew, it is the run's own only if it rose meanwhile.
        known = before is not None and (self._peak_starts_anew or peak > self._peak_before)
        return {
            "run_peak_bytes": peak - before if before is not None and known else None,
            "process_peak_bytes": max(peak, self._peak_before),
            "gpu_peak_bytes": self._session.gpu_peak_bytes,
        }

    def machine(self) -> dict[str, Any]:
        """What this machine is."""
        return machine.told()

    def outputs(self, subject: str, reference: str, border: list[list[dict[str, Any]]]) -> dict[str, str]:
        """What a model gives for the inputs in a `reference.npz`, as `INDEX/NAME` in an npz file in base64; `border` holds the
        fields of its inputs' and its outputs' specs."""
        from edgekit import reference_inputs

        inputs, outputs = ([_spec(fields) for fields in side] for side in border)
        given, _ = reference_inputs.read(Path(reference))
        with runtimes.find(Path(subject).suffix).open(Path(subject), inputs, outputs) as session:
            found = [session.run(values) for values in given]
        held = io.BytesIO()
        np.savez(held, **{f"{index}/{name}": array for index, values in enumerate(found) for name, array in values.items()})
        return {"runtime": session.runtime, "npz": base64.b64encode(held.getvalue()).decode()}

    def gpu_peak(self, index: int) -> dict[str, Any]:
        """The best of a GPU."""
        return peak.measure_gpu(index)

    def peak(self, threads: int, cores: list[int] | None, side: int, product: str) -> dict[str, Any]:
        """The machine's best, measured as the subjects are: same threads, same cores."""
        if cores is not None:
            machine.pin(cores)
        return peak.measure(threads, side, product)


def _specs(specs: tuple[TensorSpec, ...], shapes: list[list[int]] | None, batch: int | None) -> tuple[TensorSpec, ...]:
    """The inputs to run with: of `shapes`, those of an artifact's example, as its file may take any batch; else as the session
    has them, or in batches of `batch` along the first axis of every input that is as long there as the first input."""
    if shapes:
        return tuple(replace(spec, shape=tuple(sizes)) for spec, sizes in zip(specs, shapes, strict=True))
    if batch is None:
        return specs
    usual = specs[0].shape[:1]
    return tuple(replace(spec, shape=(batch, *spec.shape[1:])) if spec.shape[:1] == usual else spec for spec in specs)


def _macs(session: Session, batch: int | None) -> int | None:
    """Multiply-adds of one run, for a session that can count them; they grow with the batch."""
    macs: int | None = getattr(session, "macs", None)
    return macs if macs is None or batch is None else macs * batch // session.inputs[0].shape[0]


def _size_bytes(output: Any) -> int:
    """Of an array, a tensor, or a value of ONNX Runtime's on a GPU."""
    return int(output.nbytes if hasattr(output, "nbytes") else output.tensor_size_in_bytes())


def _files(subject: str) -> list[Path]:
    """The files that opening `subject` reads; none for a model that is not one."""
    found = runtimes.own(subject)
    path = found[1] if found else Path(subject)
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def _import_libraries(subject: str) -> None:
    """Import what the subject's runtime says its `open` imports (`LIBRARIES`)."""
    if Path(subject).exists():
        runtime = runtimes.find(Path(subject).suffix)
    elif found := runtimes.own(subject):
        runtime, _ = found
    else:
        runtime, _ = runtimes.of_module(subject)
    for library in runtime.LIBRARIES:
        importlib.import_module(library)


def _spec(fields: dict[str, Any]) -> TensorSpec:
    most = fields["max_shape"]
    return TensorSpec(fields["name"], tuple(fields["shape"]), fields["dtype"], None if most is None else tuple(most))


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
            reply = {"error": error.as_dict()}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
