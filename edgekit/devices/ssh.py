"""Linux boards (Raspberry Pi, Jetson and others) over OpenSSH: `ssh:user@host`, `ssh:host:port`, `ssh:alias/path/to/python`.

Nothing has to be installed there but Python, numpy and the runtime: the measuring process is sent along (`link/runner.py`),
with the model, into a folder that goes with the connection. docs/boards.md says how to prepare a board.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.devices import Connected
from edgekit.devices.link import runner
from edgekit.devices.link.openssh import SshShell
from edgekit.devices.link.remote_worker import RemoteWorker
from edgekit.devices.link.tape import Tape, TapedShell
from edgekit.devices.link.worker_device import WorkerDevice
from edgekit.devices.link.worker_trial import WorkerTrial
from edgekit.errors import Unsupported, UsageError
from edgekit.profiling import roofline
from edgekit.profiling.measurement import DeviceParity
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject

_ADDRESS = re.compile(
    r"(?P<user>[^@/\s-][^@/\s]*@)?(?P<host>\[[^\]\s/]+\]|[^@:/\s\[-][^@:/\s]*)(:(?P<port>\d+))?(?P<python>/\S.*)?"
)
_HOME = "/~/"


class SshDevice(WorkerDevice):
    """A board. `python` is the interpreter there, found along its PATH unless it is a path."""

    def __init__(self, name: str, tape: Tape, ssh: SshShell, python: str) -> None:
        super().__init__(name, tape)
        self.itself, self._ssh, self._python = name, ssh, python
        self.shell = TapedShell(ssh, tape)
        self._parities: dict[str, DeviceParity | None] = {}

    def start(self, subject: Subject, settings: Settings, *, cold: bool) -> WorkerTrial:
        parity = self._parity(subject)
        trial = super().start(subject, settings, cold=cold)
        trial.opened = dataclasses.replace(trial.opened, parity=parity)
        return trial

    def close(self) -> None:
        self._ssh.close()

    def _worker(self, subject: str, threads: int) -> RemoteWorker:
        return RemoteWorker(self._ssh, self._python, subject, threads=threads)

    @functools.cached_property
    def _facts_there(self) -> dict[str, Any]:
        with self._worker("the board itself", 1) as worker:
            told: dict[str, Any] = worker.ask("machine")
        return told

    def _told(self) -> dict[str, Any]:
        return self._facts_there

    def _measured_peak(self, threads: int, cores: tuple[int, ...] | None) -> roofline.Peak:
        with self._worker("the board's peak", threads) as worker:
            return roofline.ask(worker, threads, cores)

    def _opens(self, subject: Subject) -> Path:
        path = Path(subject.opens)
        if path.suffix in runner.SUFFIXES and not path.exists():
            raise UsageError(f"there is no file {subject.name}", next_step="give an artifact or a model file")
        if path.suffix not in runner.SUFFIXES or not path.is_file():
            raise Unsupported(
                f"{subject.name} cannot be measured on {self.name}",
                cause=f"what runs there opens {' and '.join(runner.SUFFIXES)} files only",
                next_step="export it with --target onnx or --target executorch, and measure that",
            )
        return path

    def _parity(self, subject: Subject) -> DeviceParity | None:
        """Of an artifact's outputs there, run in a process of its own, once. None for what has no reference inputs."""
        if subject.directory is None:
            return None
        if subject.label not in self._parities:
            told = self.tape.exchange({"subject": subject.label, "do": "parity"}, lambda: asdict(self._proof(subject)))
            self._parities[subject.label] = DeviceParity(**told)
        return self._parities[subject.label]

    def _proof(self, subject: Subject) -> DeviceParity:
        from edgekit import artifact, parity, runtimes

        assert subject.directory is not None
        loaded = artifact.load(subject.directory)
        border = [[asdict(spec) for spec in side] for side in runtimes.borders(loaded.manifest)]
        with self._worker(subject.name, 1) as worker:
            told = worker.ask(
                "outputs", subject=self._opens(subject), reference=loaded.directory / artifact.REFERENCE, border=border
            )
        found: dict[int, dict[str, runtimes.Array]] = {}
        with np.load(io.BytesIO(base64.b64decode(told["npz"])), allow_pickle=False) as arrays:
            for key in arrays.files:
                index, _, name = key.partition("/")
                found.setdefault(int(index), {})[name] = arrays[key]
        answer = parity.of_outputs(loaded, told["runtime"], [found[index] for index in sorted(found)])
        assert answer.sqnr_db is not None
        return DeviceParity(answer.sqnr_db, answer.bound_sqnr_db, answer.sqnr_db >= answer.bound_sqnr_db)


def connect(name: str, address: str, tape: Tape) -> SshDevice:
    """The board at `address`; reached when it is first asked. Raises UsageError for what is no address."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise UsageError(
            f"{name} is no address of a board",
            next_step="give ssh:USER@HOST, with :PORT where it is not 22 or ~/.ssh/config's, and the path of its Python where "
            "that is not python3: ssh:pi@board/~/venv/bin/python",
        )
    python = found["python"] or "python3"
    python = python.removeprefix(_HOME) if python.startswith(_HOME) else python  # commands start in the home directory
    host = (found["user"] or "") + found["host"].strip("[]")
    return SshDevice(name, tape, SshShell(name, host, int(found["port"]) if found["port"] else None), python)


def connected() -> list[Connected]:
    """None is looked for: a host in ~/.ssh/config may be anything, and asking it takes seconds."""
    return []
