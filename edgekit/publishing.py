"""Publishing: a folder appears whole or not at all, and one that is not edgekit's is never replaced."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgekit import scratch
from edgekit.artifact import MANIFEST
from edgekit.errors import OutputError, Unsupported

_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)


def check_output(directory: Path, *, force: bool, proof: str = MANIFEST) -> None:
    """Refuse an output that exists (unless `force`, and the file `proof` in it shows that it is edgekit's) or cannot be
    written, before any work is done. Writes nothing that stays."""
    with _explained(directory):
        _replaceable(directory, force=force, proof=proof)
        existing = next(parent for parent in directory.absolute().parents if parent.exists())
        with scratch.folder(existing):
            pass


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What tells a file or folder (a dangling link too) from another of this name, or from itself before a change; None
    where there is nothing. Raises OSError where the name itself is impossible."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _replaceable(directory: Path, *, force: bool, proof: str) -> bool:
    """Whether anything lies at `directory`, which then may be replaced. Raises OutputError where it may not."""
    while (seen := _identity(directory)) is not None:
        if not force:
            raise OutputError(
                f"{directory} exists already",
                cause="edgekit does not overwrite what it did not just make",
                next_step="give another --output, or --force to replace it",
            )
        if (directory / proof).is_file():
            return True
        # another export may just have moved the artifact away: only what stayed where it was is judged
        if _identity(directory) == seen:
            raise OutputError(
                f"{directory} exists and is not edgekit's",
                cause=f"it holds no {proof}: --force replaces only what edgekit wrote",
                next_step="give another --output, or remove it yourself",
            )
    return False


def publish(built: Path, directory: Path, *, force: bool = False, proof: str = MANIFEST) -> None:
    """Make a copy of `built` appear as `directory`, whole or not at all; `proof` as for `check_output`."""
    check_output(directory, force=force, proof=proof)
    with _explained(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with scratch.folder(directory.parent) as staging:
            shutil.copytree(built, staging / "fresh")
            _swap(staging, directory, force=force, proof=proof)


def _swap(staging: Path, directory: Path, *, force: bool, proof: str) -> None:
    """Rename `staging`/fresh to `directory`. What lies there is moved away first, and moved back should anything fail;
    where another export is quicker, its artifact is replaced in turn, or refused as any other that exists."""
    for attempt in itertools.count():
        replaced = staging / f"replaced-{attempt}"
        try:
            if _replaceable(directory, force=force, proof=proof):
                with contextlib.suppress(FileNotFoundError):
                    directory.rename(replaced)
            (staging / "fresh").rename(directory)
            return
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        finally:
            if replaced.exists() and _identity(directory) is None:
                _move_back(replaced, directory)


def _move_back(replaced: Path, directory: Path) -> None:
    try:
        replaced.rename(directory)
    except OSError as error:
        if error.errno not in _TAKEN:  # taken: another export was quicker, and what it replaces is not wanted any more
            raise


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn the file system's refusals into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise Unsupported(
                f"no space left to write {directory}",
                cause="the disk is full",
                next_step="free some space or give an --output on another disk; nothing was left half-written",
            ) from error
        # copytree gathers what went wrong into one error, as (from, to, reason)
        reason = str(error.args[0][0][-1]) if isinstance(error, shutil.Error) else str(error.strerror)
        where = "" if error.filename is None else f"{error.filename}: "
        raise OutputError(
            f"cannot write {directory}", cause=f"{where}{reason}", next_step="give an --output that you may write to"
        ) from error


def is_full(error: OSError) -> bool:
    """Whether a disk or a quota has no space left."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return error.errno in full or any(os.strerror(number) in str(error) for number in full)
