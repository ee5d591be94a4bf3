"""A shell on a device: the commands and files that meters and conditions are read through, wherever the device is."""

from __future__ import annotations

import glob
import os
import shlex
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COMMAND_LIMIT_S = 30.0


@dataclass(frozen=True)
class Completed:
    """How a command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str = ""


class Shell(ABC):
    """Runs commands on one device. A device that is gone raises DeviceLost; a command that fails is an answer like others."""

    @abstractmethod
    def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
        """Run a command there. One that does not exist ends with code 127, one past its limit with 124."""

    def read(self, path: str) -> str | None:
        """The text of a file there; None where there is none or it may not be read (`may_not_read` tells which)."""
        done = self.run(["cat", path])
        return done.stdout if done.code == 0 else None

    def may_not_read(self, path: str) -> bool:
        """Whether a file is there that this user may not read."""
        return self.run(["test", "-e", path]).code == 0 and self.run(["test", "-r", path]).code != 0

    def paths(self, pattern: str) -> list[str]:
        """The paths there that match a glob `pattern`, sorted."""
        done = self.run(["sh", "-c", f"ls -d {pattern}"])
        return sorted(done.stdout.split()) if done.code == 0 else []


class LocalShell(Shell):
    """This machine's. `python` is the one that runs edgekit."""

    def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
        try:
            done = subprocess.run(
                list(arguments),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit_s,
                check=False,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
            )
        except FileNotFoundError:
            return Completed(127, "", f"{arguments[0]}: not found")
        except subprocess.TimeoutExpired:
            return Completed(124, "", f"{shlex.join(arguments)} took longer than {limit_s:.0f} s")
        return Completed(done.returncode, done.stdout, done.stderr)

    def read(self, path: str) -> str | None:
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def paths(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern))
