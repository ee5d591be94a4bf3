"""A program of the runtime's own on a phone: the user's build of it, checked and sent there, and run."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit import artifact, errors
from edgekit.devices.link import elf, phone_runner
from edgekit.devices.link.adb import AdbShell
from edgekit.devices.link.phone_runner import Told
from edgekit.devices.link.runner_trial import Ran
from edgekit.devices.link.tape import Tape
from edgekit.errors import DeviceError

_RESIDENT = re.compile(r"^Max RSS \(KiB\): (\d+)$", re.MULTILINE)
_TIME = "/system/bin/time"
_STATISTICS = re.compile(r"^(Real time|User time|System time|Max RSS|M\w+ faults|File system|\w+oluntary context)\b.*\n?", re.M)
"""What it prints."""
_KILL_AFTER_S = 5
_LEAST_LIMIT_S = 60
_LOG_DELAY_S = 2
"""By then a line is in the log that was written to it."""


class PhoneProgram:
    """`kind` is the program's file (`phone_runner`). It is sent to `folder`, once; `abis` are those of the phone.

    Raises DeviceError where there is none, it is another ABI's, or the phone does not take it.
    """

    def __init__(self, kind: ModuleType, adb: AdbShell, tape: Tape, folder: str, abis: Sequence[str]) -> None:
        self.kind, self._adb, self._tape = kind, adb, tape
        self._folder, self._abis = folder, abis
        self._through_log = False
        told = tape.exchange({"program": kind.NAME, "to": folder}, self._send)
        self.sha256: str = told["sha256"]
        self._tells_memory: bool = told["tells_memory"]

    @property
    def runtime(self) -> str:
        """What runs, told from other builds of it."""
        return f"{self.kind.RUNTIME} ({self.kind.NAME} {self.sha256[:12]})"

    def run(self, folder: str, arguments: Sequence[str], cores: Sequence[int] | None, *, runs: int, expected_s: float) -> Ran:
        """Run it in `folder`, on `cores`, for `runs` after the first; it may take twice `expected_s`, and a minute."""
        limit_s = _LEAST_LIMIT_S + round(2 * expected_s)
        ran = self._ran(self._script(folder, arguments, cores, limit_s), runs, limit_s)
        if ran.told.load_s is None and self.kind.LOGS is not None and not self._through_log:
            self._through_log = True
            ran = self._ran(self._script(folder, arguments, cores, limit_s), runs, limit_s)
        return ran

    def _ran(self, script: str, runs: int, limit_s: int) -> Ran:
        def perform() -> dict[str, Any]:
            done, lost = self._adb.attempt(script, limit_s=limit_s + 3 * _KILL_AFTER_S)
            return {"code": done.code, "output": done.stdout, "lost": None if lost is None else lost.as_dict()}

        answer = self._tape.exchange({"script": script}, perform)
        text, lost = answer["output"], answer["lost"]
        told = self.kind.read(text)
        if self._tells_memory and (resident := _RESIDENT.search(text)):
            told = dataclasses.replace(told, peak_bytes=1024 * int(resident[1]))
        text = _STATISTICS.sub("", text)
        if lost is not None:
            return Ran(told, errors.from_dict(lost))
        failure = phone_runner.failed(self.kind.NAME, answer["code"], text, limit_s)
        if failure is None and (told.load_s is None or len(told.latency_s) != runs or min(told.latency_s, default=1.0) <= 0):
            missing = f"there are not {runs} runs, each of a time above zero, after loading"
            return Ran(Told(), phone_runner.garbage(self.kind.NAME, text, missing))
        return Ran(told, failure)

    def _script(self, folder: str, arguments: Sequence[str], cores: Sequence[int] | None, limit_s: int) -> str:
        """The phone ends it itself after `limit_s`: what adb starts goes on when adb ends."""
        memory = [_TIME, "-v"] if self._tells_memory else []
        pinned = ["taskset", f"{sum(1 << core for core in cores):x}"] if cores else []
        limited = ["timeout", "-k", str(_KILL_AFTER_S), str(limit_s)]
        command = shlex.join([*memory, *limited, *pinned, f"{self._folder}/{self.kind.NAME}", *arguments])
        clean = f"rm -f {phone_runner.RESULT} {phone_runner.OUTPUT}-*"
        start = f"cd {shlex.quote(folder)} || exit; export LD_LIBRARY_PATH={self._folder}; {clean}"
        if not self._through_log:
            return f"{start}; {command} 2>&1; code=$?; cat {phone_runner.RESULT} 2>/dev/null; exit $code"
        # The log is followed, not read afterwards: it holds a few seconds of a fast model.
        follow = f"logcat -v raw -T \"$(date '+%m-%d %H:%M:%S.000')\" -s {self.kind.LOGS}:V & log=$!"
        return f"{start}; {follow}\n{command} 2>&1; code=$?; sleep {_LOG_DELAY_S}; kill $log; exit $code"

    def _send(self) -> dict[str, Any]:
        program = self._found()
        self._check_abi(program)
        for path in (program, *elf.libraries(program)):
            name = self.kind.NAME if path == program else path.name
            self._adb.push(path, f"{self._folder}/{name}")
        done = self._adb.run(["chmod", "755", f"{self._folder}/{self.kind.NAME}"])
        if done.code != 0:
            raise DeviceError(
                f"the phone does not let {self.kind.NAME} run",
                cause=done.stderr.strip() or "chmod failed",
                next_step="check that `adb shell` may execute programs in /data/local/tmp",
            )
        timed = self._adb.run([_TIME, "-v", "true"])
        tells_memory = timed.code == 0 and _RESIDENT.search(timed.stdout + timed.stderr) is not None
        return {"sha256": artifact.sha256_of(program), "tells_memory": tells_memory}

    def _found(self) -> Path:
        given = os.environ.get(self.kind.VARIABLE)
        if not given:
            raise DeviceError(
                f"no {self.kind.NAME} to run {self.kind.TARGET} models on the phone",
                cause=f"{self.kind.VARIABLE} is not set, and nobody publishes builds of it",
                next_step=f"build it (docs/android.md says how) and set {self.kind.VARIABLE} to its path",
            )
        program = Path(given)
        if not program.is_file():
            raise DeviceError(
                f"there is no {self.kind.NAME} at {given}",
                cause=f"{self.kind.VARIABLE} says so",
                next_step="build it (docs/android.md says how), or set the variable to where it is",
            )
        return program

    def _check_abi(self, program: Path) -> None:
        built_for = elf.abi(program)
        if built_for is None or (self._abis and built_for not in self._abis):
            raise DeviceError(
                f"{program} does not run on this phone",
                cause=f"it is built for {built_for}" if built_for else "it is no program (ELF)",
                next_step=f"build it with -DANDROID_ABI={self._abis[0] if self._abis else 'arm64-v8a'} (docs/android.md)",
            )
