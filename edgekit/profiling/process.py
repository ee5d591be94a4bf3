"""The parent's end of a measuring process (`worker.py` is the other)."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
from typing import Any

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


class Worker:
    """A fresh process for `subject`. Use it as a context manager: leaving ends the process."""

    def __init__(self, subject: str, *, threads: int) -> None:
        self._subject = subject
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads)) | _GPU_ORDER,
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
        its log when it crashed or was silent for ten minutes.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._crash() from None
        if not select.select([self._process.stdout], [], [], _SILENCE_LIMIT_S)[0]:
            raise EdgekitError(
                f"measuring {self._subject} hangs",
                cause=f"its process gave no answer to {command!r} for {_SILENCE_LIMIT_S:.0f} s; {self._last_words()}",
                next_step="try another thread count or a smaller input; `edgekit verify` tells whether it runs at all",
            )
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._crash()
        reply = json.loads(line)
        if "error" in reply:
            error = pickle.loads(base64.b64decode(reply["error"]))  # from our own child
            assert isinstance(error, EdgekitError)
            raise error
        return reply["answer"]

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
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return "the end of its log:\n" + "\n".join(lines[-_LOG_LINES:]) if lines else "it wrote no log"
