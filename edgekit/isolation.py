"""Runs long or dangerous stages (converters, runtimes) in a process of their own, with a time and a memory limit, so that a
crash or a hang becomes an error that names the stage, the cause and the next step.

A `Worker` starts at once and imports the packages it will need while the caller is still busy; `call` then runs a function
in it. The worker ends with its caller, however the caller ends.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import pickle
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from edgekit import python_files
from edgekit.errors import ConversionError, EdgekitError, Unsupported

TIME_LIMIT_S = 1800.0
MEMORY_LIMIT_FRACTION = 0.85
"""Of the machine's memory, for one stage."""

_POLL_S = 0.05
_LOG_LINES = 8
_CAUSE_LENGTH = 400


class Worker:
    """A child process that runs one function after another. Use it as a context manager."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        answers_read, answers_write = os.pipe()
        self._process = subprocess.Popen(
            # -P: the current folder may well hold an onnx.py of the user's
            [sys.executable, "-P", "-m", "edgekit.isolation", str(answers_write), *preload],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(answers_write,),
        )
        os.close(answers_write)
        self._answers = os.fdopen(answers_read, "rb")

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._answers, self._log):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # what a dead worker never read
                stream.close()

    def call(
        self,
        function: str,
        *arguments: object,
        stage: str,
        time_limit_s: float = TIME_LIMIT_S,
        memory_limit_bytes: float | None = None,
    ) -> Any:
        """What `function` ("module:name" or "file.py:name") returns for picklable `arguments`.

        Raises the EdgekitError it raised; ConversionError for any other exception, a crash or a hang; Unsupported when it
        takes more memory than `memory_limit_bytes` (85 % of the machine's when None).
        """
        limit = memory_limit_bytes or MEMORY_LIMIT_FRACTION * psutil.virtual_memory().total
        try:
            assert self._process.stdin is not None
            _send(self._process.stdin, (function, arguments))
        except BrokenPipeError:
            pass  # it died while importing: the missing answer tells
        started = time.monotonic()
        while not select.select([self._answers], [], [], _POLL_S)[0]:
            if time.monotonic() - started > time_limit_s:
                self._process.kill()
                raise ConversionError(
                    f"{stage} took longer than {time_limit_s:.0f} s and was stopped",
                    cause=self._tail() or "it gave no sign of life",
                    next_step="try a smaller input, or another target",
                )
            if self._memory_bytes() > limit:
                self._process.kill()
                raise Unsupported(
                    f"{stage} needs more memory than its limit of {limit / 2**30:.1f} GiB",
                    cause="it was stopped before the machine ran out",
                    next_step="use a machine with more memory, or a smaller model or input",
                )
        if (answer := _receive(self._answers)) is not None:
            kind, value = answer
            if kind == "returned":
                return value
            if isinstance(value, EdgekitError):
                raise value
            if os.strerror(errno.ENOSPC) in value:
                raise Unsupported(f"{stage} ran out of disk space", cause=value, next_step="free some space, or set TMPDIR")
            raise ConversionError(f"{stage} failed", cause=value, next_step=_REPORT)
        raise ConversionError(f"{stage} crashed ({self._exit()})", cause=self._tail(), next_step=_REPORT)

    def _memory_bytes(self) -> int:
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0  # it has ended: the reader tells how

    def _exit(self) -> str:
        code = self._process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def _tail(self) -> str:
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return "\n".join(lines[-_LOG_LINES:])


REINSTALL = "pip install --force-reinstall edgekit"
_REPORT = "try another target; if the model is an ordinary one, report it"


def _send(stream: BinaryIO | Any, message: object) -> None:
    data = pickle.dumps(message)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def _receive(stream: BinaryIO | Any) -> Any:
    """The next message, or None at the end of the stream."""
    header = stream.read(8)
    if len(header) < 8:
        return None
    (size,) = struct.unpack("<Q", header)
    data = stream.read(size)
    return pickle.loads(data) if len(data) == size else None


def _serve(answers_descriptor: int, preload: Sequence[str]) -> None:
    """The worker's side: import, then answer calls until the caller closes the pipe or is gone."""
    answers = os.fdopen(answers_descriptor, "wb")
    requests: list[Any] = []
    arrived = threading.Semaphore(0)

    def listen() -> None:
        while (message := _receive(sys.stdin.buffer)) is not None:
            requests.append(message)
            arrived.release()
        os._exit(0)  # also in the middle of a call: nobody waits for its answer

    threading.Thread(target=listen, daemon=True).start()
    missing = _import(preload)
    while True:
        arrived.acquire()
        _send(answers, ("raised", missing) if missing else _answer(*requests.pop(0)))


def _import(modules: Sequence[str]) -> EdgekitError | None:
    """Import `modules`; the error for the first that does not."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            return Unsupported(f"{module} does not import", cause=_root_cause(error), next_step=REINSTALL)
    return None


def _answer(function: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    place, _, name = function.rpartition(":")
    try:
        module = python_files.load(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        return "returned", getattr(module, name)(*arguments)
    except EdgekitError as error:
        return "raised", error
    except Exception as error:  # whatever a converter raises is reported under the stage's name
        return "raised", _root_cause(error)


def _root_cause(error: BaseException) -> str:
    """What went wrong at the bottom: converters wrap it in errors that name only themselves, and advise their authors."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:_CAUSE_LENGTH]}"


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2:])
