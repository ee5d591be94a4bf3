"""The near end of a worker that runs on a board, over OpenSSH."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from edgekit import scratch
from edgekit.devices.link import runner
from edgekit.devices.link.openssh import SshShell, after_mark
from edgekit.errors import DeviceError, EdgekitError
from edgekit.inspection.onnx import data_files
from edgekit.profiling.measurement import OperatorProfile
from edgekit.profiling.process import Worker, thread_variables
from edgekit.runtimes import onnxruntime

_START_LIMIT_S = 60.0
_END_LIMIT_S = 2.0
_MISSING = re.compile(r"No module named '(\w+)")
_PACKAGES = {"torch": "executorch"}
"""What brings a module that its own package need not be asked for."""
_NO_COMMAND, _SIGNALLED = 127, 128
_BY_SIGNAL = {
    signal.SIGKILL: "the system may have run out of memory: end other programs there, or measure a smaller model",
    signal.SIGILL: "the runtime there was built for another processor: install the build for this one, or an older version",
}


class RemoteWorker(Worker):
    """A fresh process for `subject` there, by the Python called `python`. Files among the arguments of `ask` are sent first.

    Every way it can end badly is a DeviceError.
    """

    def __init__(self, ssh: SshShell, python: str, subject: str, *, threads: int) -> None:
        self._ssh, self._python = ssh, python
        self._group: int | None = None
        self._names: dict[str, str] = {}
        with scratch.folder() as here:
            runner.pack(here / "runner.pyz")
            self._runner = ssh.put(here / "runner.pyz")
        super().__init__(subject, threads=threads)
        try:
            self._group, _ = ssh.greeting(self._lines, _START_LIMIT_S)
            if self._group is None:
                raise self._crash()
        except TimeoutError:
            self.close()
            raise DeviceError(
                f"{ssh.name} does not answer",
                cause=f"it did not start a process for {_START_LIMIT_S:.0f} s",
                next_step="see what keeps it busy, end it, and measure again",
            ) from None
        except BaseException:
            self.close()
            raise

    def _started(self, threads: int) -> subprocess.Popen[bytes]:
        # As `edgekit/__init__.py` has it for this machine: ONNX Runtime reports no model to its makers.
        variables = {**thread_variables(threads), "ORT_DISABLE_TELEMETRY": "1"}
        return self._ssh.start(["env", *(f"{k}={v}" for k, v in variables.items()), self._python, self._runner], self._log)

    def ask(self, command: str, **arguments: object) -> Any:
        if command == "operators":
            return asdict(self._operators())
        if command == "open":
            self._model_file = cast(Path, arguments["subject"])
        sent = {name: self._sent(value) if isinstance(value, Path) else value for name, value in arguments.items()}
        self._names |= {str(sent[name]): str(value) for name, value in arguments.items() if isinstance(value, Path)}
        try:
            return super().ask(command, **sent)
        except EdgekitError as error:
            for there, here in self._names.items():  # the name that the user gave says more
                error.what, error.cause = error.what.replace(there, here), error.cause.replace(there, here)
            raise

    def _operators(self) -> OperatorProfile:
        """As the worker on host tells them: it is here that a trace is read, which takes onnx."""
        if self._model_file.suffix != onnxruntime.SUFFIX:
            return OperatorProfile(
                reason=f"of {self._ssh.name} edgekit reads ONNX Runtime's traces alone: profile the model's ONNX artifact"
            )
        from edgekit.profiling.operators import onnxruntime as nodes

        with nodes.named(self._model_file) as model_file:
            return nodes.read(model_file, self.ask("trace", subject=model_file))

    def _sent(self, path: Path) -> str:
        """The path there of a copy of a file, and of what it does not open without."""
        return self._ssh.put(path, data_files(path) if path.suffix == onnxruntime.SUFFIX else ())

    def close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # which ends it there, unless it hangs
        try:
            self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            if self._group is not None:
                with contextlib.suppress(DeviceError):  # gone with the device
                    self._ssh.kill(self._group)
        super().close()

    def _silence(self, command: str) -> EdgekitError:
        return self._on_device(super()._silence(command), "try another thread count or a smaller input")

    def _garble(self, line: bytes) -> EdgekitError:
        return self._on_device(super()._garble(line), "look for what writes to standard output there, such as sitecustomize.py")

    def _crash(self) -> EdgekitError:
        code = self._process.wait()
        if code == 255:
            if self._ssh.lost():
                return self._ssh.loss()
            if refused := self._ssh.refusal("\n".join(self._logged())):
                return refused
        words = self._last_words()
        if missing := _MISSING.search(words):
            package = _PACKAGES.get(missing[1], missing[1])
            return DeviceError(
                f"{self._ssh.name} has no {missing[1]}",
                cause=f"its {self._python} cannot import it",
                next_step=f"install it there: {self._python} -m pip install {package} (docs/boards.md tells more)",
            )
        if code in (_NO_COMMAND, runner.NO_PYTHON):
            return DeviceError(
                f"{self._ssh.name} cannot run edgekit's runner with {self._python}",
                cause=words.splitlines()[-1],
                next_step=f"install Python {runner.OLDEST} or newer there (sudo apt install python3); where it is not python3, "
                "name it after the address: ssh:pi@board/~/venv/bin/python",
            )
        ending = f"exited with status {code}"
        next_step = "measure it on the host too, to see whether it is the runtime there"
        if code - _SIGNALLED in set(signal.Signals):
            ended_by = signal.Signals(code - _SIGNALLED)
            ending, next_step = f"was ended by {ended_by.name}", _BY_SIGNAL.get(ended_by, next_step)
        return DeviceError(
            f"measuring {self._subject} on {self._ssh.name} failed", cause=f"its process {ending}; {words}", next_step=next_step
        )

    def _on_device(self, error: EdgekitError, next_step: str) -> DeviceError:
        return DeviceError(f"{error.what} on {self._ssh.name}", cause=error.cause, next_step=next_step)

    def _logged(self) -> list[str]:
        self._log.seek(0)
        written = self._log.read()
        words = after_mark(written)
        told = (written if words is None else words).decode(errors="replace")
        return [line for line in told.splitlines() if line.strip()]
