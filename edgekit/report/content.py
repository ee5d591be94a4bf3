"""What a report consists of before it is HTML or Markdown: sections of sentences, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNKNOWN = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    value: float | str | None = None
    """What it sorts by; null sorts last, whichever way the column is sorted."""
    detail: str = ""
    """A second, quieter line: an interval, a reason."""
    marks: tuple[str, ...] = ()
    """What must be read together with the text: replayed, ingested, reference timing, interrupted."""


@dataclass(frozen=True)
class Column:
    """A column's title, with its unit, and whether it holds numbers."""

    title: str
    number: bool = False


@dataclass(frozen=True)
class Table:
    """A table that sorts by any column."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure with what it is called, what it shows in a sentence, and what to read off it."""

    name: str
    figure: Figure
    description: str
    """For whoever cannot see it."""
    caption: str


@dataclass(frozen=True)
class Section:
    """One part of a report. With `absent`, it has no data: that line says what would fill it, and is all that is shown."""

    name: str
    title: str
    sentences: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    remarks: tuple[str, ...] = ()
    """Below the tables: why something is missing in them."""
    absent: str | None = None


NO_MEASUREMENTS = "there are no measurements: give what `edgekit profile --output` wrote"


def words(text: str | None, *, detail: str = "", marks: Sequence[str] = ()) -> Cell:
    """A cell of words."""
    return Cell(text or UNKNOWN, text or None, detail, tuple(marks))


def number(value: float | None, text: str, *, detail: str = "") -> Cell:
    """A cell that sorts as the number `value` and reads as `text`; a dash where it is unknown."""
    return Cell(UNKNOWN, None, detail) if value is None else Cell(text, value, detail)
