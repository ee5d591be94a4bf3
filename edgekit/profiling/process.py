"""The near end of a measuring process (`worker.py` is the other)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, Any, Protocol

from edgekit import errors
from edgekit.errors import EdgekitError

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_GPU_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""GPUs counted as `nvidia-smi` and NVML do, rather than the fastest first."""
_COMMAND = (sys.executable, "-P", "-m", "edgekit.profiling.worker")
_SILENCE_LIMIT_S = 600.0
_LOG_LINES = 8


class Asked(Protocol):
    """The near end of a worker, wherever that is."""

    def ask(self, command: str, **arguments: object) -> Any:
        """Its answer; raises the EdgekitError that it raised, or one that tells how it ended."""

    def close(self) -> None:
        """End it."""


class Lines:
    """The lines of a stream, waited for no longer than one likes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._held = stream, bytearray()

    def next(self, limit_s: float) -> bytes:
        """The next line with its end; what is left without one when the stream has ended. Raises TimeoutError."""
        ends = time.monotonic() + limit_s
        while b"\n" not in self._held:
            if not select.select([self._stream], [], [], max(0.0, ends - time.monotonic()))[0]:
                raise TimeoutError
            read = os.read(self._stream.fileno(), 1 << 20)
            if not read:
                break
            self._held += read
        line, newline, self._held = self._held.partition(b"\n")
        return bytes(line + newline)


def thread_variables(threads: int) -> dict[str, str]:
    """What tells the libraries that a process loads how many threads to compute with."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


class Worker:
    """A fresh process for `subject`. Use it as a context manager: leaving ends the process."""

    def __init__(self, subject: str, *, threads: int) -> None:
        self._subject = subject
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = self._started(threads)
        assert self._process.stdout is not None
        self._lines = Lines(self._process.stdout)

    def _started(self, threads: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | thread_variables(threads) | _GPU_ORDER,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # a request that a dead process never read
                    stream.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ask(self, command: str, **arguments: object) -> Any:
        """What the worker answers to `command`.

        Raises the EdgekitError that it raised; an EdgekitError naming the subject, how the process ended and the end of
        its log when it crashed, was silent for ten minutes or gave what is no answer.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._crash() from None
        try:
            line = self._lines.next(_SILENCE_LIMIT_S)
        except TimeoutError:
            raise self._silence(command) from None
        if not line.endswith(b"\n"):
            raise self._crash()
        try:
            reply = json.loads(line)
            if "error" not in reply:
                return reply["answer"]
        except (ValueError, TypeError, KeyError):
            raise self._garble(line) from None
        raise errors.from_dict(reply["error"])

    def _silence(self, command: str) -> EdgekitError:
        return EdgekitError(
            f"measuring {self._subject} hangs",
            cause=f"its process gave no answer to {command!r} for {_SILENCE_LIMIT_S:.0f} s; {self._last_words()}",
            next_step="try another thread count or a smaller input; `edgekit verify` tells whether it runs at all",
        )

    def _garble(self, line: bytes) -> EdgekitError:
        return EdgekitError(
            f"measuring {self._subject} failed",
            cause=f"its process wrote {line[:80]!r} where an answer was due; {self._last_words()}",
            next_step="something it loads writes to its standard output: `edgekit verify` tells whether it runs at all",
        )

    def _crash(self) -> EdgekitError:
        code = self._process.wait()
        if code >= 0:
            ending, next_step = f"exited with status {code}", "`edgekit verify` tells whether it runs at all"
        else:
            ending = f"was ended by {signal.Signals(-code).name}"
            next_step = "export it again; if it crashes again, try another target"
        if code == -signal.SIGKILL:
            next_step = "the system may have run out of memory: close other programs, or measure a smaller model"
        return EdgekitError(
            f"measuring {self._subject} failed", cause=f"its process {ending}; {self._last_words()}", next_step=next_step
        )

    def _last_words(self) -> str:
        lines = self._logged()
        return "the end of its log:\n" + "\n".join(lines[-_LOG_LINES:]) if lines else "it wrote no log"

    def _logged(self) -> list[str]:
        self._log.seek(0)
        return [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
