"""A shell over the system's OpenSSH client: one connection that all commands share, and a folder there for as long as it lives.

The client reads the user's own ~/.ssh/config: names, ports, keys, jump hosts. It never asks: what takes a password or an answer
ends with an error that says what to do.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edgekit import artifact, scratch
from edgekit.devices.link.shell import COMMAND_LIMIT_S, Completed, Shell
from edgekit.errors import DeviceError, Unsupported
from edgekit.profiling.process import Lines

_CONNECTION = (
    *("-T", "-x", "-a"),
    *("-o", "BatchMode=yes"),
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "ConnectTimeout=10"),
    *("-o", "ControlPersist=no"),
    *("-o", "LogLevel=ERROR"),
    *("-o", "PermitLocalCommand=no"),
    *("-o", "RemoteCommand=none"),
    # A board that is gone is noticed within 20 s.
    *("-o", "ServerAliveInterval=5"),
    *("-o", "ServerAliveCountMax=3"),
)
_MARK = re.compile(rb"\x1eedgekit(?: (\d+))?\n")
# What login scripts print comes before the mark. The shell stays, to tell by which signal the command was ended, and its number
# is that of the group of processes it started.
_RUN = r"""printf '\036edgekit %s\n' "$$"; printf '\036edgekit\n' >&2; export LC_ALL=C; "$@"; exit $?"""
# Ends with the connection, whatever ends that, and takes the folder with it.
_KEEP = r"""umask 077; folder=$(mktemp -d "${TMPDIR:-/tmp}/edgekit-XXXXXX") || exit 1; printf '%s\n' "$folder"
trap '' HUP INT PIPE TERM; cat >/dev/null; rm -rf "$folder" """
_WRITE = 'mkdir -p "${1%/*}" && cat >"$1" || { rm -f "$1"; exit 1; }'
_CONNECT_LIMIT_S = 60.0
_CLOSE_LIMIT_S = 10.0
_CUT_OFF_S = 1.0
"""By then the connection has ended too, when that is what ended a command."""
_SLOWEST_BYTES_PER_S = 50_000
_LOST = 255
"""How a client ends when the connection does, or when it has none."""

_REFUSALS = (
    # What the client says, what that means, what to do.
    (
        "could not resolve hostname",
        "is not known by that name",
        "check its spelling, or give its address: ssh:pi@192.168.1.20",
    ),
    (
        "connection refused",
        "has no SSH server there",
        "start it on the board: sudo systemctl enable --now ssh; check the port (ssh:USER@HOST:PORT)",
    ),
    (
        "identification has changed",
        "has another host key than before",
        "if it was installed anew: ssh-keygen -R {known_as}, then {by_hand}; if not, another machine answers in its place",
    ),
    (
        "host key verification failed",
        "has a host key that is not known yet",
        "compare it and accept it once by hand: {by_hand}",
    ),
    (
        "permission denied",
        "does not let you in",
        "give it your key: ssh-copy-id {login} (edgekit types no password), then {by_hand}",
    ),
    (
        "too many authentication failures",
        "does not let you in",
        "name its key in ~/.ssh/config (IdentityFile, IdentitiesOnly yes)",
    ),
    ("timed out", "does not answer", "check that it is on, and in this network: {by_hand}"),
    ("no route to host", "is out of reach", "check that it is on, and in this network: {by_hand}"),
    ("network is unreachable", "is out of reach", "check this machine's network"),
    (
        "session open refused",
        "opens no more sessions",
        "measure fewer subjects at once, or raise MaxSessions in its sshd_config",
    ),
)
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")


class SshShell(Shell):
    """`name` is the device's, for errors; `host` what the client takes. Connects when it is first used."""

    def __init__(self, name: str, host: str, port: int | None) -> None:
        self.name = name
        self._host, self._port = host, port
        self._held = contextlib.ExitStack()
        self._sent: dict[str, str] = {}
        self._folder: str | None = None

    def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
        return self._run(arguments, limit_s)

    @property
    def folder(self) -> str:
        """A private folder there, gone when the connection is. Raises DeviceError when there is no connection to be had."""
        if self._folder is None:
            self._folder = self._connect()
        return self._folder

    def start(self, arguments: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """A command there, its input and output as pipes; `greeting` is the first that it writes."""
        command = self._command(arguments)
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True)

    def greeting(self, lines: Lines, limit_s: float) -> tuple[int | None, bytes]:
        """The group of processes that a started command is, None when it ended instead, and what was printed before it.
        Raises TimeoutError."""
        before = b""
        while line := lines.next(limit_s):
            if mark := _MARK.search(line):
                return int(mark[1]), before
            before += line
        return None, before

    def put(self, path: Path, beside: Sequence[Path] = ()) -> str:
        """The path there of a copy of a file, sent once, with those `beside` it: files of its folder. Raises DeviceError when
        they do not fit."""
        key = artifact.sha256_of(path, *beside)[:16]
        if key not in self._sent:
            for file in (path, *beside):
                self._write(file, f"{self.folder}/{key}/{file.relative_to(path.parent)}")
            self._sent[key] = f"{self.folder}/{key}/{path.name}"
        return self._sent[key]

    def _write(self, path: Path, there: str) -> None:
        limit_s = COMMAND_LIMIT_S + path.stat().st_size / _SLOWEST_BYTES_PER_S
        with path.open("rb") as file:
            done = self._run(["sh", "-c", _WRITE, "sh", there], limit_s, file)
        if done.code:
            raise self._not_stored(path, done)

    def kill(self, group: int) -> None:
        """End a group of processes there, whatever it is doing."""
        self._run(["kill", "-s", "KILL", "--", f"-{group}"], COMMAND_LIMIT_S)

    def lost(self) -> bool:
        """Whether the connection has ended, or does so right now."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._keeper.wait(_CUT_OFF_S)
        return self._keeper.poll() is not None

    def loss(self) -> DeviceError:
        """The error that tells of it."""
        return DeviceError(
            f"the connection to {self.name} was lost",
            cause=self._last_word() or "its end closed it",
            next_step="check its power supply (a weak one resets a board under load) and its network, then measure again",
        )

    def refusal(self, told: str) -> DeviceError | None:
        """What the client told of a connection or a session that it did not get; None for anything else."""
        host = self._host.rpartition("@")[2]
        words = {
            "known_as": host if self._port is None else f"'[{host}]:{self._port}'",
            "login": self._login,
            "by_hand": self._by_hand,
        }
        for phrase, what, next_step in _REFUSALS:
            if phrase in told.lower():
                cause = next(line for line in reversed(told.splitlines()) if phrase in line.lower())
                return DeviceError(f"{self.name} {what}", cause=cause.strip("@ \r"), next_step=next_step.format(**words))
        return None

    def close(self) -> None:
        """End the connection; what was put there goes with it."""
        self._held.close()
        self._folder = None
        self._sent.clear()

    def _run(self, arguments: Sequence[str], limit_s: float, given: IO[bytes] | int = subprocess.DEVNULL) -> Completed:
        try:
            done = subprocess.run(
                self._command(arguments), stdin=given, capture_output=True, timeout=limit_s, check=False, start_new_session=True
            )
        except subprocess.TimeoutExpired as error:
            if group := _MARK.search(error.stdout or b""):
                self.kill(int(group[1]))
            return Completed(124, "", f"{shlex.join(arguments)} took longer than {limit_s:.0f} s")
        if done.returncode == _LOST and self.lost():
            raise self.loss()
        stdout, stderr = after_mark(done.stdout), after_mark(done.stderr)
        if stdout is None or stderr is None:
            raise self._no_commands(done.stdout + done.stderr)
        return Completed(done.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    def _command(self, arguments: Sequence[str]) -> list[str]:
        """Over the connection there is. Without it the client would make another: a proxy that fails keeps it from that."""
        assert self.folder
        return [*self._client("-o", "ControlMaster=no", "-o", "ProxyCommand=false"), _remote(_RUN, *arguments)]

    def _client(self, *options: str) -> list[str]:
        port = () if self._port is None else ("-p", str(self._port))
        return ["ssh", *_CONNECTION, "-S", str(self._socket), *options, *port, "--", self._host]

    def _connect(self) -> str:
        """Open the connection; the folder there."""
        with contextlib.ExitStack() as held:
            self._socket = held.enter_context(scratch.folder()) / "s"
            self._log = held.enter_context((self._socket.parent / "log").open("w+b"))
            keep = _remote(_RUN, "sh", "-c", _KEEP)
            try:
                self._keeper = subprocess.Popen(
                    [*self._client("-M"), keep],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._log,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise Unsupported(
                    f"cannot reach {self.name}",
                    cause="this machine has no ssh command",
                    next_step="install OpenSSH's client: sudo apt install openssh-client",
                ) from None
            held.callback(self._end)
            assert self._keeper.stdout is not None
            lines = Lines(self._keeper.stdout)
            try:
                group, before = self.greeting(lines, _CONNECT_LIMIT_S)
                folder = lines.next(_CONNECT_LIMIT_S) if group else b""
            except TimeoutError:
                raise DeviceError(
                    f"{self.name} does not answer",
                    cause=f"logging in took longer than {_CONNECT_LIMIT_S:.0f} s; {self._last_word()}",
                    next_step=f"see what happens by hand: {self._by_hand}",
                ) from None
            if not folder.endswith(b"\n"):
                self._keeper.wait()
                raise self._no_folder() if group else self._no_commands(before)
            self._held = held.pop_all()
        return folder.decode().rstrip("\n")

    def _end(self) -> None:
        """The keeper ends when its input does, and the connection with it."""
        keeper = self._keeper
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            keeper.stdin.close()
        try:
            keeper.wait(_CLOSE_LIMIT_S)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
        keeper.stdout.close()

    def _no_folder(self) -> DeviceError:
        return DeviceError(
            f"there is no place for a folder on {self.name}",
            cause=self._last_word(),
            next_step="free some space there, or name another place in its /etc/environment: TMPDIR=/path",
        )

    def _no_commands(self, output: bytes) -> DeviceError:
        told = f"{self._logged()}\n{output.decode(errors='replace')}".strip()
        return self.refusal(told) or DeviceError(
            f"{self.name} runs no commands",
            cause=told or "its login shell ended without a word",
            next_step=f"see what happens by hand: {self._by_hand} true",
        )

    def _not_stored(self, path: Path, done: Completed) -> DeviceError:
        told = done.stderr.strip().splitlines()
        if any(phrase in done.stderr for phrase in _FULL):
            what = f"{self.name} has no room for {path}"
        else:
            what = f"{self.name} does not take {path}"
        return DeviceError(
            f"{what} ({path.stat().st_size / 1e6:.1f} MB)",
            cause=told[-1] if told else f"writing it ended with status {done.code}",
            next_step="free some space there, or name another place in its /etc/environment: TMPDIR=/path",
        )

    @property
    def _by_hand(self) -> str:
        return f"ssh {self._login}"

    @property
    def _login(self) -> str:
        return self._host if self._port is None else f"-p {self._port} {self._host}"

    def _logged(self) -> str:
        self._log.seek(0)
        return _MARK.sub(b"", self._log.read()).decode(errors="replace")

    def _last_word(self) -> str:
        lines = [line for line in self._logged().splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""


def after_mark(written: bytes) -> bytes | None:
    """What a command wrote, without what login scripts did before it; None when it never came to run."""
    mark = _MARK.search(written)
    return None if mark is None else written[mark.end() :]


def _remote(script: str, *arguments: str) -> str:
    """A shell script with its arguments, as one word for the login shell there, whichever that is."""
    return f"exec sh -c {shlex.quote(script)} sh {shlex.join(arguments)}"
