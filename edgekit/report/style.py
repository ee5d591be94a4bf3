"""How figures look: colours that the colour-blind tell apart (Okabe and Ito 2008), with a shape or a label beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

INK: Final = "#1b1b1b"
MUTED: Final = "#5c6166"
RULE: Final = "#d9dadb"
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
ORANGE: Final = "#E69F00"

_OF_TARGET: Final = {
    "onnx": (BLUE, "o"),
    "executorch": (VERMILLION, "s"),
    "coreml": (GREEN, "^"),
    "eager": (INK, "D"),
}
_OTHER: Final = (PURPLE, "P")

WIDTH_IN: Final = 7.5
"""Of every figure: its text then reads alike on the screen and on A4."""
MOST_DRAWN: Final = 24
"""Rows or panels in one figure; the tables have all."""
MARK_PT: Final = 7.0
"""Of a mark that stands for one measurement."""
MOST_FIGURES: Final = 8
"""Of one kind."""

_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgekit",
    "text.parse_math": False,  # a name may hold dollar signs
    "font.family": "DejaVu Sans",  # ships with matplotlib, and is wider than what browsers take in its place
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "date.converter": "concise",
    "lines.linewidth": 1.4,
    "lines.markersize": 6,
}


@contextmanager
def applied() -> Iterator[None]:
    """The settings, while figures are made and written. Letters that matplotlib's own font lacks are drawn by the reader's:
    its warnings about them are left out."""
    import warnings

    import matplotlib

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def look(target: str) -> tuple[str, str]:
    """Colour and marker of a target."""
    return _OF_TARGET.get(target, _OTHER)


def figure(height_in: float, *, gap_in: float = 0.04) -> Figure:
    """An empty figure, `height_in` inches high, with `gap_in` above and below each of its panels."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(WIDTH_IN, height_in), layout=ConstrainedLayoutEngine(h_pad=gap_in))


def title(label: str, marks: Sequence[str]) -> str:
    """A panel's title: the label, its marks below it."""
    return f"{label}\n({', '.join(marks)})" if marks else label


def rows_figure(count: int) -> tuple[Figure, Axes]:
    """A figure of `count` labelled rows, the first on top."""
    made = figure(0.75 + 0.32 * max(count, 2))
    axes = made.add_subplot()
    axes.set_ylim(count - 0.4, -0.6)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    return made, axes


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Write the rows' labels, in ink."""
    axes.set_yticks(range(len(labels)), labels)
    for label in axes.get_yticklabels():
        label.set(color=INK, fontsize=8.5)


def plain_log(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """Make an axis logarithmic from `low` to `high`, with ticks at round numbers, written out."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def log_ticks(low: float, high: float) -> list[float]:
    """Three to nine round numbers from `low` to `high`, for a logarithmic axis."""
    decades = math.log10(high / low)
    if decades < 0.6:
        from matplotlib.ticker import MaxNLocator

        ticks = MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        return [float(f"{tick:.12g}") for tick in ticks if low <= tick <= high]
    mantissas = (1, 2, 3, 4, 5, 7) if decades < 1.1 else (1, 2, 5) if decades < 3 else (1,)
    step = max(1, math.ceil(decades / 8))
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{mantissa}e{exponent}") for exponent in exponents if exponent % step == 0 for mantissa in mantissas]
    return [tick for tick in ticks if low <= tick <= high]


def around(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    """Limits of a logarithmic axis that holds `values`, all positive, with some air."""
    low, high = min(values), max(values)
    air = max((high / low) ** margin, 1.01)
    return low / air, high * air


def magnitudes(axes: Axes, which: Literal["x", "y"], values: Sequence[float]) -> None:
    """Limits of an axis for magnitudes: from zero, or logarithmic where they differ by more than twenty times."""
    if max(values) > 20 * min(values) > 0:
        plain_log(axes, which, *around(values, margin=0.12))
    else:
        axes.set(**{f"{which}lim": (0, 1.12 * max(values))})


def beside(axes: Axes, x: float, y: float, text: str) -> None:
    """Write `text` to the right of a point."""
    axes.annotate(text, (x, y), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8, color=INK)


def at_right(axes: Axes, row: float, text: str) -> None:
    """Write `text` in a column to the right of a figure of rows."""
    axes.annotate(text, (1, row), xycoords=axes.get_yaxis_transform(), xytext=(10, 0), textcoords="offset points",
        va="center", fontsize=8, color=INK, annotation_clip=False)  # fmt: skip


def left_out(drawn: int, of: int, which: str) -> str:
    """What a caption says when not everything is drawn."""
    return "" if drawn == of else f" The {drawn} {which} of {of} are drawn; the table has all."


@dataclass(frozen=True)
class Mark:
    """A mark at (x, y), to be labelled."""

    x: float
    y: float
    label: str
    size_pt: float = MARK_PT
    reach: tuple[float, float] | None = None
    """From where to where its interval goes, along x."""


def label_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    """Write each label beside its mark, moved up or down until it overlaps neither another mark nor a label before it.
    Everything else must be in its place already."""
    drawn_on = axes.get_figure(root=True)
    assert drawn_on is not None
    drawn_on.draw_without_rendering()
    box = axes.get_window_extent()
    placed: list[Bbox] = []
    ordered = sorted(marks, key=lambda mark: (mark.x, mark.y))
    covered = [_covered(axes, mark) for mark in ordered]
    for number, mark in enumerate(ordered):
        in_the_way = [*covered[:number], *covered[number + 1 :], *placed]
        at = axes.transData.transform((mark.x, mark.y))
        side = 1 if at[0] < box.x0 + 0.6 * box.width else -1
        edge = covered[number].x1 - at[0] if side == 1 else at[0] - covered[number].x0
        away = edge * 72 / drawn_on.dpi + 4
        made = axes.annotate(
            mark.label, (mark.x, mark.y), xytext=(side * away, 0), textcoords="offset points",
            ha="left" if side == 1 else "right", va="center", fontsize=8, color=INK,
        )  # fmt: skip
        made.set_in_layout(False)
        for lift in (0, *(sign * 3 * step for step in range(1, 20) for sign in (1, -1))):
            made.xyann = (side * away, lift)
            extent = made.get_window_extent()
            if not any(extent.overlaps(other) for other in in_the_way):
                break
        placed.append(extent)


def _covered(axes: Axes, mark: Mark) -> Bbox:
    """What a mark and its interval cover, in pixels."""
    from matplotlib.transforms import Bbox

    half = mark.size_pt / math.sqrt(2) * axes.figure.dpi / 72  # a diamond stands on its corner
    ends = [axes.transData.transform((x, mark.y)) for x in (mark.x, *(mark.reach or ()))]
    return Bbox([np.min(ends, axis=0) - half, np.max(ends, axis=0) + half])
