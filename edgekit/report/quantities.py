"""Numbers as people read them: base units become milliseconds and megabytes here."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.profiling.measurement import Estimate
from edgekit.report.content import Cell, number


def digits(value: float) -> str:
    """Three significant digits, without exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def interval(estimate: Estimate, scale: float = 1.0) -> str:
    """`[low, high]`, which no line break parts, or nothing where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{digits(estimate.low * scale)},\N{NO-BREAK SPACE}{digits(estimate.high * scale)}]"


def milliseconds(estimate: Estimate) -> str:
    """The value in milliseconds, with its interval where there is one."""
    return f"{digits(estimate.value * 1e3)} ms {interval(estimate, 1e3)}".strip()


def ms_cell(seconds: float | None) -> Cell:
    """A number of milliseconds."""
    return number(seconds, "" if seconds is None else digits(seconds * 1e3))


def mb_cell(size_bytes: int | None) -> Cell:
    """A number of megabytes (10^6 bytes)."""
    return number(size_bytes, "" if size_bytes is None else digits(size_bytes / 1e6))


def listed(items: Sequence[str], most: int = 6) -> str:
    """`a, b and c`; beyond `most`, how many more there are."""
    shown = list(items[:most])
    if len(items) > most:
        shown.append(f"{len(items) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""


def counted(count: int, one: str, several: str | None = None) -> str:
    """`1 run`, `2 runs`."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"
