"""Private folders for work under way, gone when it ends.

Each is locked by the process that uses it, and the lock dies with its process. So the next edgekit that works beside it
tells what a killed one left behind, and removes it, from what another is still writing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = ".edgekit-"


@contextlib.contextmanager
def folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder inside `parent` (the system's temporary folder when None), removed at the end."""
    parent = parent or Path(tempfile.gettempdir())
    _sweep(parent)
    made, lock = _made(parent)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def _made(parent: Path) -> tuple[Path, int]:
    while True:
        try:
            made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError as error:
            error.filename = str(parent)  # what a reader knows, unlike the random name that was tried
            raise
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(made, os.O_RDONLY)
            with contextlib.suppress(OSError):  # a file system without locks: nothing is ever swept there
                fcntl.flock(lock, fcntl.LOCK_EX)
            if made.is_dir():
                return made, lock
            os.close(lock)
        # Another process took the folder for a leftover before it was locked.


def _sweep(parent: Path) -> None:
    """Remove what killed processes left behind in `parent`."""
    for leftover in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its owner lives
                shutil.rmtree(leftover, ignore_errors=True)
            finally:
                os.close(lock)
