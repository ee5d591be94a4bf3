"""What the tests of the command line share: a finished command, and what is to be said of its errors."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SHAPE = "1,3,32,32"


@dataclass
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which is to be JSON and nothing else."""
        return json.loads(self.out)


Command = Callable[..., Done]


def process(*arguments: object, **options: Any) -> Done:
    """Runs a command as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "edgekit.cli", *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )
    return Done(done.returncode, done.stdout, done.stderr)


def assert_error(done: Done, code: int, *words: str) -> None:
    """One error with its exit code, on standard error alone, without a traceback."""
    assert done.code == code, done
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "next:  " in done.err
    assert "Traceback" not in done.err
    assert not [word for word in words if word not in done.err], done.err


def export_tiny(tiny_file: Path, output: Path, *more: object) -> list[object]:
    """The command that exports the tiny model."""
    return ["export", f"{tiny_file}:build", "--target", "onnx", "--input-shape", SHAPE, "--output", output, *more]


def wait_until_gone(pid: int) -> None:
    """Return once the process has ended; fail after half a minute."""
    for _ in range(600):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} survives")
