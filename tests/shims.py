"""Programs of a device, put before this machine's on PATH: a command there prints a recorded text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

RECORDINGS = Path(__file__).parent / "recordings"


def recording(name: str) -> str:
    """A recorded text, without the line that says where its shape comes from."""
    return (RECORDINGS / name).read_text(encoding="utf-8").split("\n", 1)[1]


class Shims:
    """A folder of programs that come first on PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def program(self, name: str, script: str) -> None:
        """`name` runs `script` in a shell."""
        path = self._folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def prints(self, name: str, answers: dict[str, str]) -> None:
        """`name` prints, by its arguments, one of the `answers`; it fails for any other."""
        cases = []
        for number, (arguments, text) in enumerate(answers.items()):
            (self._folder / f"{name}.{number}").write_text(text, encoding="utf-8")
            cases.append(f"'{arguments}') cat {self._folder}/{name}.{number};;")
        self.program(name, f'case "$*" in {" ".join(cases)} *) echo "Can\'t find service: $*" >&2; exit 20;; esac')
