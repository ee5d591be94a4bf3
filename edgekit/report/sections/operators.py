"""Where the time goes: by kind of operator, and by source module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.profiling.operators import Group, grouped
from edgekit.report import style
from edgekit.report.collection import Collection, printable
from edgekit.report.content import Cell, Column, Picture, Section, Table, number, words
from edgekit.report.entry import Entry
from edgekit.report.quantities import digits, listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from edgekit.profiling.measurement import OperatorProfile

_MOST_MODULES = 14
_BARS = 10
_COLUMNS = (
    Column("calls", number=True),
    Column("time ms", number=True),
    Column("share", number=True),
    Column("GMAC", number=True),
    Column("MB moved", number=True),
    Column("floor ms", number=True),
    Column("times the floor", number=True),
)


def section(collection: Collection) -> Section:
    """The measurements shown that were profiled by operator."""
    profiled = [(entry, entry.measurement.operators) for entry in collection.shown if entry.measurement.operators]
    able = [(entry, profile) for entry, profile in profiled if profile.operators]
    reasons: dict[str, list[str]] = {}
    for entry, profile in profiled:
        if profile.reason:
            reasons.setdefault(profile.reason, []).append(entry.label)
    remarks = tuple(f"{listed(labels, 4)}: {reason}." for reason, labels in reasons.items())
    if not able:
        how = "operators' times are made by `edgekit profile --operators`"
        return Section("operators", "Where the time goes", absent="; ".join([how, *(text.rstrip(".") for text in remarks)]))
    return Section(
        "operators",
        "Where the time goes",
        sentences=(
            "Medians of runs of their own: watching operators slows a runtime down, so that these times add up to more than "
            "a run takes. Shares are of the time of all operators.",
        ),
        pictures=tuple(_picture(*one, index) for index, one in enumerate(able[: style.MOST_FIGURES], start=1)),
        tables=tuple(table for entry, profile in able for table in _tables(entry, profile)),
        remarks=remarks,
    )


def by_module(profile: OperatorProfile) -> list[Group]:
    """The operators by module, as deep as there are not too many."""
    deepest = max((one.module.count(".") + 1 for one in profile.operators if one.module), default=1)
    for depth in range(deepest, 1, -1):
        groups = grouped(profile, by="module", depth=depth)
        if len(groups) <= _MOST_MODULES:
            return groups
    return grouped(profile, by="module", depth=1)


def _module(group: Group) -> str:
    if group.name is None:
        return "unknown module"
    return printable(group.name) or "the model's forward"


def _kind(group: Group) -> str:
    return printable(group.name or "unknown")


def _tables(entry: Entry, profile: OperatorProfile) -> list[Table]:
    kinds = grouped(profile)
    tables = [
        Table(
            f"{entry.marked}: kinds of operators",
            (Column("operator"), *_COLUMNS),
            tuple((words(_kind(group)), *_cells(group)) for group in kinds),
        )
    ]
    if any(one.module is not None for one in profile.operators):
        modules = by_module(profile)
        tables.append(
            Table(
                f"{entry.marked}: modules",
                (Column("module"), *_COLUMNS),
                tuple((words(_module(group)), *_cells(group)) for group in modules),
            )
        )
    return tables


def _cells(group: Group) -> tuple[Cell, ...]:
    times = 1 / group.efficiency if group.efficiency else None
    return (
        number(group.calls, str(group.calls)),
        number(group.time_s, digits(group.time_s * 1e3)),
        number(group.share, f"{group.share:.1%}"),
        number(group.macs, "" if group.macs is None else digits(group.macs / 1e9)),
        number(group.bytes_moved, "" if group.bytes_moved is None else digits(group.bytes_moved / 1e6)),
        number(group.floor_s, "" if group.floor_s is None else digits(group.floor_s * 1e3)),
        number(times, "" if times is None else digits(times)),
    )


def _picture(entry: Entry, profile: OperatorProfile, index: int) -> Picture:
    """Bars of time, by kind and, where modules are known, by module."""
    sides = [("by operator", grouped(profile), _kind)]
    if any(one.module is not None for one in profile.operators):
        sides.append(("by module", by_module(profile), _module))
    bars = max(min(len(groups), _BARS + 1) for _, groups, _ in sides)
    figure = style.figure(0.95 + 0.25 * max(bars, 3))
    panels = figure.subplots(1, len(sides), squeeze=False).flatten()
    color, _ = style.look(entry.measurement.model.target)
    for panel, (title, groups, name) in zip(panels, sides, strict=True):
        _bars(panel, [(name(group), group) for group in groups], color, bars)
        panel.set_title(title)
    return Picture(
        f"operators-{index}",
        figure,
        f"Time of the operators of {entry.marked}, by kind and by module.",
        f"{entry.marked}: milliseconds of one run and share of all operators' time; a white line is the floor, where it is "
        "known.",
    )


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "<1%"


def _bars(axes: Axes, groups: Sequence[tuple[str, Group]], color: str, most: int) -> None:
    """The longest as bars, the rest as one."""
    drawn, rest = groups[:_BARS], groups[_BARS:]
    bars = [(label, group.time_s, group.share, group.floor_s) for label, group in drawn]
    if rest:
        others = [group for _, group in rest]
        bars.append((f"{len(rest)} others", sum(g.time_s for g in others), sum(g.share for g in others), None))
    for row, (_, time_s, share, floor_s) in enumerate(bars):
        axes.barh(row, time_s * 1e3, height=0.62, color=color, alpha=0.8)
        if floor_s is not None and floor_s < time_s:
            axes.plot([floor_s * 1e3] * 2, [row - 0.31, row + 0.31], color="white", linewidth=1.6, label="floor")
        style.beside(axes, time_s * 1e3, row, f"{digits(time_s * 1e3)} ({_percent(share)})")
    style.name_rows(axes, [label if len(label) <= 24 else f"…{label[-23:]}" for label, *_ in bars])
    axes.set_ylim(most - 0.4, -0.6)
    axes.set_xlim(0, max(time_s for _, time_s, *_ in bars) * 1e3 * 1.45)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("time, ms")
