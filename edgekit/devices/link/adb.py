"""The system's adb client: which phones it sees, a shell on one of them, files to it and from it."""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit import artifact
from edgekit.devices.link.shell import COMMAND_LIMIT_S, Completed, Shell
from edgekit.devices.link.tape import Tape
from edgekit.errors import DeviceError

_LIST_LIMIT_S = 10.0
_TRANSFER_LIMIT_S = 600.0
_TIMED_OUT = 124
_MARK = "edgekit-exit "
"""Comes after a command's output, with its exit code: a phone that is lost on the way gives none."""

_NEXT_STEPS = {
    "unauthorized": "unlock the phone, accept this computer's key in the dialog there, and measure again",
    "offline": "plug it in again, or restart adb with `adb kill-server`",
    "no permissions": "give this user access to USB devices (udev rules), then `adb kill-server`",
    "recovery": "let the phone start Android",
    "sideload": "let the phone start Android",
    "bootloader": "let the phone start Android",
}


@dataclass(frozen=True)
class Listed:
    """A line of `adb devices -l`."""

    serial: str
    state: str
    """`device` for one that can be used."""
    model: str

    @property
    def next_step(self) -> str:
        """What makes it usable; empty where it is."""
        if self.state == "device":
            return ""
        return next((step for state, step in _NEXT_STEPS.items() if self.state.startswith(state)), _NEXT_STEPS["offline"])


def client() -> str | None:
    """The adb client's path: the one on PATH, or in the Android SDK that ANDROID_HOME names. None where there is none."""
    found = shutil.which("adb")
    if found is None and (home := os.environ.get("ANDROID_HOME")):
        found = shutil.which("adb", path=str(Path(home) / "platform-tools"))
    return found


def listed(limit_s: float = _LIST_LIMIT_S) -> list[Listed]:
    """The phones that adb sees, usable or not; starts adb's server where none runs. Raises DeviceError."""
    done = _adb(["devices", "-l"], limit_s)
    if done.code != 0:
        raise DeviceError(
            "adb does not work",
            cause=_last_line(done.stderr) or f"`adb devices` ended with code {done.code}",
            next_step="see what `adb devices` says",
        )
    # Another adb's server is restarted with a line that starts with an asterisk.
    lines = [line for line in done.stdout.splitlines() if "\t" in line or re.match(r"[^\s*]\S*\s+\S", line)]
    return [_listed(line) for line in lines if not line.startswith("List of devices")]


def _listed(line: str) -> Listed:
    serial, _, rest = line.replace("\t", " ").partition(" ")
    state = re.split(r"[;(]| \w+:", rest.strip())[0].strip()
    model = re.search(r"\bmodel:(\S+)", rest)
    return Listed(serial, state, model[1].replace("_", " ") if model else "Android device")


def find(serial: str) -> str:
    """`serial`, once adb can use that phone; without one, that of the only phone there is. Raises DeviceError."""
    phones = listed()
    known = ", ".join(phone.serial for phone in phones) or "no phone"
    fit = [phone for phone in phones if serial in ("", phone.serial)]
    if not fit:
        raise DeviceError(
            f"android:{serial} is not connected" if serial else "no phone is connected",
            cause=f"adb sees {known}",
            next_step="plug it in and switch on USB debugging in its developer options, or `adb connect` to it",
        )
    if len(fit) > 1:
        raise DeviceError(
            "several phones are connected", cause=f"adb sees {known}", next_step="name one: --device android:SERIAL"
        )
    [phone] = fit
    if phone.state != "device":
        raise DeviceError(f"android:{phone.serial} refuses", cause=f"it is {phone.state}", next_step=phone.next_step)
    return phone.serial


class AdbShell(Shell):
    """A phone's shell, as the user `shell`."""

    def __init__(self, serial: str) -> None:
        self._serial = serial

    def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
        done, lost = self.attempt(shlex.join(arguments), limit_s=limit_s)
        if lost is not None:
            raise lost
        return done

    def attempt(self, script: str, *, limit_s: float) -> tuple[Completed, DeviceError | None]:
        """What a shell script printed, also when the phone was lost in the middle of it."""
        wrapped = f"( {script}\n); printf '\\n{_MARK}%d' $?"
        done = _adb(["-s", self._serial, "shell", "-n", "-T", wrapped], limit_s)
        output, mark, code = done.stdout.rpartition(f"\n{_MARK}")
        if mark and code.strip().isdigit():
            return Completed(int(code), output, done.stderr), None
        if done.code == _TIMED_OUT:
            return done, None
        return Completed(done.code, done.stdout, done.stderr), self._lost(done.stderr)

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the phone; makes the folders above it. Raises DeviceError."""
        done = _adb(["-s", self._serial, "push", str(source), target], _TRANSFER_LIMIT_S)
        if done.code == 0:
            return
        said = _complaint(done)
        what = f"android:{self._serial} did not take {source.name}"
        if "No space left" in said:
            raise DeviceError(what, cause=f"its storage is full: {said}", next_step="free some space on it, under /data")
        if "Permission denied" in said or "Read-only" in said:
            raise DeviceError(
                what,
                cause=said,
                next_step="check that `adb shell` may write to /data/local/tmp; a folder there left by another user (root) "
                "must go first",
            )
        raise self._lost(said)

    def pull(self, source: str) -> bytes:
        """A file's content. Raises DeviceError."""
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "pulled"
            done = _adb(["-s", self._serial, "pull", source, str(target)], _TRANSFER_LIMIT_S)
            if done.code != 0:
                raise self._lost(_complaint(done))
            return target.read_bytes()

    def _lost(self, said: str) -> DeviceError:
        """The error for an exchange that adb did not bring to its end."""
        try:
            phone = next((phone for phone in listed() if phone.serial == self._serial), None)
        except DeviceError as error:
            return error
        what = f"android:{self._serial} was lost"
        said = _last_line(said) or "the connection ended in the middle of a command"
        if phone is None:
            return DeviceError(
                what, cause=f"it is no longer connected: {said}", next_step="check its cable and its charge, and measure again"
            )
        cause = said if phone.state == "device" else f"it is {phone.state}: {said}"
        return DeviceError(what, cause=cause, next_step=phone.next_step or "check its cable, and measure again")


class TapedFiles:
    """Files to a phone and from it, through a tape."""

    def __init__(self, adb: AdbShell, tape: Tape) -> None:
        self._adb, self._tape = adb, tape

    def push(self, source: Path, target: str) -> None:
        self._tape.exchange({"push": artifact.sha256_of(source), "to": target}, lambda: self._adb.push(source, target))

    def pull(self, source: str) -> bytes:
        text: str = self._tape.exchange({"pull": source}, lambda: base64.b64encode(self._adb.pull(source)).decode())
        return base64.b64decode(text)


def _adb(arguments: Sequence[str], limit_s: float) -> Completed:
    """Run the client; ends with code 124 past its limit. Raises DeviceError where there is none."""
    adb = client()
    if adb is None:
        raise DeviceError(
            "no adb is installed here",
            cause="it is neither on PATH nor in ANDROID_HOME/platform-tools",
            next_step="install Android's platform tools (`apt install adb`, `brew install android-platform-tools`, or "
            "developer.android.com/tools/releases/platform-tools)",
        )
    try:
        done = subprocess.run([adb, *arguments], capture_output=True, timeout=limit_s, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        return Completed(_TIMED_OUT, _text(error.stdout), f"adb {arguments[0]} took longer than {limit_s:.0f} s")
    return Completed(done.returncode, _text(done.stdout), _text(done.stderr))


def _text(told: bytes | None) -> str:
    return (told or b"").decode("utf-8", errors="replace").replace("\r\n", "\n")


def _complaint(done: Completed) -> str:
    """What a transfer failed of; its summary comes after that."""
    lines = f"{done.stdout}\n{done.stderr}".splitlines()
    return _last_line(next((line for line in lines if "error: " in line), done.stderr))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("adb: ").removeprefix("error: ") if lines else ""
