"""The journal: what each image told of each subject, kept as it comes in, so that a run that was cut short goes on.

A file of JSON lines beside the results: what is evaluated on what; then, image by image, its index and the scores of all
subjects; at the end, that it is finished.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgekit.errors import InputError, OutputError
from edgekit.evaluation.scores import Score

_FINISHED = "finished"


@dataclass(frozen=True)
class Row:
    """One image, by its index, and each subject's score of it."""

    image: int
    scores: tuple[Score, ...]


class Journal:
    """An open journal, or one in memory alone. Use it as a context manager."""

    def __init__(self, path: Path | None, about: Mapping[str, str], *, resume: bool) -> None:
        """Begin one at `path`, or go on with the one that lies there. `about` tells all that the scores depend on.

        Raises InputError for one that is damaged or of another run, and OutputError where it cannot be written, or would lose
        what a run that was cut short left.
        """
        self.path = path
        self.rows: list[Row] = []
        self._file: IO[bytes] | None = None
        if path is None:
            return
        try:
            kept = _read(path) if path.exists() else None
            if kept is not None and resume:
                _require_same(path, kept.about, about)
                self.rows = kept.rows
                os.truncate(path, kept.ends_at)
            else:
                _require_no_loss(path, kept)
                path.write_text(_line(about), encoding="utf-8")
            self._file = path.open("ab")
        except OSError as error:
            raise _unwritable(path, error) from error

    def append(self, rows: Sequence[Row]) -> None:
        """Keep what further images told. Raises OutputError where it cannot be written."""
        self.rows += rows
        self._write("".join(_line({"image": row.image, "scores": [_packed(score) for score in row.scores]}) for row in rows))

    def finish(self) -> None:
        """Note that nothing is left to be done."""
        self._write(_line({_FINISHED: True}))

    def _write(self, text: str) -> None:
        if self._file is None or self.path is None:
            return
        try:
            self._file.write(text.encode())
            self._file.flush()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def beside(output: Path) -> Path:
    """Where the journal of a results file lies."""
    return output.with_suffix(".images.jsonl")


@dataclass(frozen=True)
class _Kept:
    """A journal that was read."""

    about: dict[str, str]
    rows: list[Row]
    finished: bool
    ends_at: int
    """Where its last whole row ends, in bytes."""


def _read(path: Path) -> _Kept | None:
    """The journal at `path`, without a last line that a killed run left half-written; None where there is no whole line."""
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    if not lines:
        return None
    try:
        about, *records = map(json.loads, lines)
        finished = bool(records) and _FINISHED in records[-1]
        if finished:
            records.pop(), lines.pop()
        rows = [Row(record["image"], tuple(Score(*fields) for fields in record["scores"])) for record in records]
        return _Kept(dict(about), rows, finished, sum(map(len, lines)))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} is no journal of an evaluation", cause=str(error), next_step="remove it, or give another --output"
        ) from error


def _require_same(path: Path, kept: Mapping[str, str], about: Mapping[str, str]) -> None:
    changed = [what for what in {**kept, **about} if kept.get(what) != about.get(what)]
    if changed:
        raise InputError(
            f"{path} is of another evaluation",
            cause=f"not the same then and now: {', '.join(changed)}",
            next_step="give what it was begun with; or remove it, or give another --output, to begin anew",
        )


def _require_no_loss(path: Path, kept: _Kept | None) -> None:
    if kept is not None and kept.rows and not kept.finished:
        raise OutputError(
            f"{path} holds {len(kept.rows)} images of an evaluation that was cut short",
            cause="beginning anew would lose them",
            next_step="add --resume to go on with it, or remove it",
        )


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}", cause=error.strerror or str(error), next_step="check --output and the disk")


def _packed(score: Score) -> list[float | None]:
    return list(dataclasses.astuple(score))


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(record) + "\n"
