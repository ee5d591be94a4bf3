"""A tape: every exchange with a device goes through one, so that a session can be recorded and replayed without the device.

A recording is JSON lines: a header, then `{"request": ..., "answer": ...}` or `{"request": ..., "error": ...}` in the order in
which they happened. It is written as it grows, so that what was measured is on the disk when something ends the session.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from edgekit import errors
from edgekit.devices.link.shell import COMMAND_LIMIT_S, Completed, Shell
from edgekit.errors import EdgekitError, InputError, OutputError, UsageError

VERSION: Final = 1

Answer = Any
"""What JSON holds."""


class Tape(ABC):
    """Where exchanges go through."""

    source: str | None = None
    """The recording that is replayed."""

    @abstractmethod
    def exchange(self, request: dict[str, Any], perform: Callable[[], Answer]) -> Answer:
        """The device's answer to `request`, which `perform` gets from it. Both are JSON; a request holds nothing that differs
        from one session to the next (no absolute path, no time, no random name), and `perform` makes no exchange of its own."""

    def close(self) -> None:  # noqa: B027 - only a recording holds a file
        """No more exchanges."""


class Live(Tape):
    """No recording: every request is performed."""

    def exchange(self, request: dict[str, Any], perform: Callable[[], Answer]) -> Answer:
        return perform()


class Recording(Tape):
    """Performs every request, and writes it to `path` with its answer."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._path = path
        try:
            self._file = path.open("x", encoding="utf-8")
        except OSError as error:
            cause = "it exists already" if isinstance(error, FileExistsError) else str(error.strerror)
            raise OutputError(f"cannot record to {path}", cause=cause, next_step="name another file after --record") from error
        self._write({"edgekit_recording": VERSION, **header})

    def exchange(self, request: dict[str, Any], perform: Callable[[], Answer]) -> Answer:
        try:
            answer = perform()
        except EdgekitError as error:
            self._write({"request": request, "error": error.as_dict()})
            raise
        self._write({"request": request, "answer": answer})
        return answer

    def close(self) -> None:
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"cannot record to {self._path}", cause=str(error.strerror), next_step="free some space"
            ) from error


class Replay(Tape):
    """Answers from a recording; nothing is performed."""

    def __init__(self, path: Path) -> None:
        self.source = str(path)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "it is not text"
            raise InputError(f"cannot read the recording {path}", cause=str(cause), next_step=_RECORD) from error
        self._lines = [self._parsed(line, number) for number, line in enumerate(lines, 1)]
        self.header: dict[str, Any] = self._lines[0] if self._lines else {}
        if self.header.get("edgekit_recording") != VERSION:
            raise InputError(
                f"{path} is not a recording that this edgekit reads",
                cause=f"its first line does not say edgekit_recording: {VERSION}",
                next_step=_RECORD,
            )
        self._next = 1

    def exchange(self, request: dict[str, Any], perform: Callable[[], Answer]) -> Answer:
        request = json.loads(json.dumps(request))  # as a recording holds it
        if self._next == len(self._lines):
            raise InputError(
                f"the recording {self.source} ends before this session does",
                cause=f"it was cut off, or asked less: after {self._next - 1} exchanges it has none for {_short(request)}",
                next_step=_RECORD,
            )
        line = self._lines[self._next]
        if line.get("request") != request:
            raise UsageError(
                f"the recording {self.source} is of another session",
                cause=f"line {self._next + 1} holds {_difference(line.get('request'), request)}",
                next_step="give the subjects and options it was recorded with (its first line tells them)",
            )
        self._next += 1
        if "error" in line:
            raise errors.from_dict(line["error"])
        return line["answer"]

    def _parsed(self, line: str, number: int) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"the recording {self.source} is damaged", cause=f"line {number}: {error.msg}", next_step=_RECORD
            ) from error
        if not isinstance(found, dict) or (number > 1 and ("request" not in found or not {"answer", "error"} & set(found))):
            raise InputError(
                f"the recording {self.source} is damaged", cause=f"line {number} is no exchange", next_step=_RECORD
            )
        return found


_RECORD = "record one: edgekit profile ... --record FILE"


def _short(request: object) -> str:
    text = json.dumps(request)
    return text if len(text) <= 160 else f"{text[:160]}..."


def _difference(recorded: object, asked: object) -> str:
    """Where two requests part, in words."""
    if isinstance(recorded, dict) and isinstance(asked, dict) and recorded.keys() == asked.keys():
        key = next(key for key in recorded if recorded[key] != asked[key])
        return f"{key} {_difference(recorded[key], asked[key])}"
    return f"{_short(recorded)}, this session asks {_short(asked)}"


class TapedShell(Shell):
    """A shell whose commands and files go through a tape."""

    def __init__(self, shell: Shell, tape: Tape) -> None:
        self._shell, self._tape = shell, tape

    def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
        def perform() -> Answer:
            done = self._shell.run(arguments, limit_s=limit_s)
            return {"code": done.code, "stdout": done.stdout, "stderr": done.stderr}

        return Completed(**self._tape.exchange({"run": list(arguments)}, perform))

    def read(self, path: str) -> str | None:
        text: str | None = self._tape.exchange({"read": path}, lambda: self._shell.read(path))
        return text

    def may_not_read(self, path: str) -> bool:
        return bool(self._tape.exchange({"may_not_read": path}, lambda: self._shell.may_not_read(path)))

    def paths(self, pattern: str) -> list[str]:
        return list(self._tape.exchange({"paths": pattern}, lambda: self._shell.paths(pattern)))
