"""How latency went over the time that is on record, as far as it compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

from edgekit.profiling.measurement import Estimate
from edgekit.report import style
from edgekit.report.collection import Collection, elided, printable
from edgekit.report.content import Cell, Column, Picture, Section, Table, number, words
from edgekit.report.entry import Entry
from edgekit.report.quantities import counted, digits, interval, listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = (
    Column("subject"),
    Column("started, UTC"),
    Column("p50 ms [95\N{NO-BREAK SPACE}%]", number=True),
    Column("change since the last", number=True),
    Column("what else changed"),
    Column("file"),
)


@dataclasses.dataclass(frozen=True)
class Moment:
    """One measurement of a series, and what changed since the one before it."""

    entry: Entry
    when: datetime
    ratio: Estimate | None
    """Of latencies, to the one before; null where the fingerprint changed, or for the first."""
    changed: tuple[str, ...]
    """Fields of the fingerprint that changed: the two do not compare."""
    new_file: bool
    """Whether the model's file changed."""

    @property
    def day(self) -> float:
        """When, as matplotlib counts: days since 1970."""
        return self.when.timestamp() / 86400


def section(collection: Collection) -> Section:
    """Every series measured at two times at least."""
    series: dict[tuple[object, ...], list[Entry]] = {}
    for entry in (*collection.past, *collection.shown):
        if entry.started is not None:
            series.setdefault(entry.series, []).append(entry)
    histories = [
        _history(sorted(entries, key=_when)) for entries in series.values() if len({entry.started for entry in entries}) > 1
    ]
    if not histories:
        return Section(
            "trend", "Trend", absent="a trend takes one subject measured at several times: give the folder of past results"
        )
    histories.sort(key=lambda history: -len(history))
    return Section(
        "trend",
        "Trend",
        sentences=(
            "A series is one subject on one device with one set of settings. Its line breaks where the fingerprint changed "
            "(system, runtime, edgekit): across a break figures do not compare. Jobs were made apart, so that what the "
            "machine did in between is in every change.",
        ),
        pictures=(_picture(histories),),
        tables=(
            Table(
                f"{counted(len(histories), 'series', 'series')}, {counted(sum(map(len, histories)), 'measurement')}",
                _COLUMNS,
                tuple(_row(moment) for history in histories for moment in history),
            ),
        ),
    )


def _when(entry: Entry) -> datetime:
    assert entry.started is not None
    return entry.started


def _history(entries: Sequence[Entry]) -> list[Moment]:
    """The moments of one series, in order of time."""
    from edgekit.profiling.comparison import ratio

    history: list[Moment] = []
    for entry in entries:
        changed: tuple[str, ...] = ()
        to_last, new_file = None, False
        if history:
            last = history[-1].entry.measurement
            here, there = entry.measurement.fingerprint, last.fingerprint
            changed = tuple(f.name for f in dataclasses.fields(here) if getattr(here, f.name) != getattr(there, f.name))
            new_file = entry.measurement.model.sha256 != last.model.sha256
            if not changed:
                to_last = ratio(entry.measurement, last)
        history.append(Moment(entry, _when(entry), to_last, changed, new_file))
    return history


def _name(entry: Entry) -> str:
    """What a series is called: its subject, and its device where that is not this machine."""
    measurement = entry.measurement
    name = entry.label or elided(printable(PurePath(measurement.subject).name))
    device = measurement.fingerprint.device
    return name if device == "host" or device in name else f"{name}, {device}"


def _row(moment: Moment) -> tuple[Cell, ...]:
    measurement = moment.entry.measurement
    changes = [f"{name}: now {getattr(measurement.fingerprint, name)}" for name in moment.changed]
    if moment.new_file:
        changes.append("the model's file")
    change = None if moment.ratio is None else moment.ratio.value - 1
    return (
        words(_name(moment.entry), marks=moment.entry.marks),
        words(moment.when.strftime("%Y-%m-%d %H:%M:%S")),
        number(measurement.p50_s.value, digits(measurement.p50_s.value * 1e3), detail=interval(measurement.p50_s, 1e3)),
        number(
            change, "" if change is None else f"{change:+.1%}", detail="" if moment.ratio is None else _percent(moment.ratio)
        ),
        words(listed(changes)),
        words(moment.entry.file.name),
    )


def _percent(ratio: Estimate) -> str:
    return "" if ratio.low is None or ratio.high is None else f"[{ratio.low - 1:+.1%}, {ratio.high - 1:+.1%}]"


def _picture(histories: Sequence[list[Moment]]) -> Picture:
    drawn = histories[: style.MOST_DRAWN // 2]
    figure = style.figure(0.4 + 1.8 * len(drawn), gap_in=0.1)
    panels = figure.subplots(len(drawn), 1, squeeze=False, sharex=True).flatten()
    for panel, history in zip(panels, drawn, strict=True):
        _draw(panel, history)
    panels[-1].set_xlabel("started, UTC")
    return Picture(
        "trend",
        figure,
        f"Median latency over time of {counted(len(drawn), 'series', 'series')}.",
        "Medians with their 95 % intervals. A dashed line is where the fingerprint changed, with what changed; a hollow "
        "mark is the first of another model file." + style.left_out(len(drawn), len(histories), "longest series"),
    )


def _draw(axes: Axes, history: Sequence[Moment]) -> None:
    """One series; a line of its own between every two changes of the fingerprint."""
    axes.xaxis_date()
    color, marker = style.look(history[0].entry.measurement.model.target)
    starts = [index for index, moment in enumerate(history) if index == 0 or moment.changed]
    for start, end in zip(starts, [*starts[1:], len(history)], strict=True):
        part = history[start:end]
        values = [moment.entry.measurement.p50_s.value * 1e3 for moment in part]
        axes.plot([moment.day for moment in part], values, "-", color=color, label="p50")
        if start:
            between = (history[start - 1].day + part[0].day) / 2
            axes.axvline(between, color=style.MUTED, linestyle=(0, (4, 3)), linewidth=1)
            axes.annotate(
                listed(part[0].changed, 3), (between, 1), xycoords=axes.get_xaxis_transform(), xytext=(4, -2),
                textcoords="offset points", va="top", fontsize=8, color=style.MUTED,
            )  # fmt: skip
    for moment in history:
        p50 = moment.entry.measurement.p50_s
        at = moment.day
        if p50.low is not None and p50.high is not None:
            axes.plot([at, at], [p50.low * 1e3, p50.high * 1e3], "_-", color=color, linewidth=1, markersize=5)
        face = "white" if moment.new_file else color
        axes.plot([at], [p50.value * 1e3], marker, color=color, markerfacecolor=face, markersize=5)
    axes.margins(x=0.04, y=0.25)
    axes.grid(axis="y")
    axes.set_title(style.title(_name(history[-1].entry), history[-1].entry.marks))
    axes.set_ylabel("p50, ms")
