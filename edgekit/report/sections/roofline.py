"""How close each model, and each kind of operator in it, comes to what the machine can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from edgekit.profiling.measurement import Floor, Measurement
from edgekit.report import style
from edgekit.report.collection import Collection, machine
from edgekit.report.content import Cell, Column, Picture, Section, Table, number, words
from edgekit.report.entry import Entry
from edgekit.report.quantities import counted, digits

_COLUMNS = (
    Column("subject"),
    Column("bound by"),
    Column("GMAC", number=True),
    Column("MB moved", number=True),
    Column("MAC per byte", number=True),
    Column("GMAC/s reached", number=True),
    Column("GMAC/s at best", number=True),
    Column("GB/s at best", number=True),
    Column("times the floor", number=True),
)


@dataclass(frozen=True)
class _Point:
    """What is drawn as one mark."""

    label: str
    macs: int
    bytes_moved: int
    time_s: float
    target: str

    @property
    def intensity(self) -> float:
        """Multiply-adds a byte."""
        return self.macs / self.bytes_moved

    @property
    def rate(self) -> float:
        """Thousand millions of multiply-adds a second."""
        return self.macs / self.time_s / 1e9


def section(collection: Collection) -> Section:
    """The measurements of which multiply-adds, bytes and the machine's peak are known, a figure a machine."""
    able = [entry for entry in collection.shown if _roofed(entry.measurement)]
    if not able:
        return Section(
            "roofline",
            "Roofline",
            absent="a roofline takes a model's multiply-adds and the machine's peak: profile an artifact that edgekit exported",
        )
    roofs: dict[tuple[tuple[float, float], str], list[Entry]] = {}
    for entry in able:
        roofs.setdefault((_roof(entry.measurement.floor), machine(entry.measurement.fingerprint)), []).append(entry)
    pictures = [
        _picture(roof, where, entries, f"roofline-{index + 1}")
        for index, ((roof, where), entries) in enumerate(list(roofs.items())[: style.MOST_FIGURES])
    ]
    profiled = [entry for entry in able if _operator_points(entry)][: style.MOST_FIGURES]
    pictures += [_operators_picture(entry, f"roofline-operators-{index + 1}") for index, entry in enumerate(profiled)]
    return Section(
        "roofline",
        "Roofline",
        sentences=(
            "The roof is the fastest fp32 matrix product (flat part) and the fastest read of memory (slope) that were "
            "measured on the machine at the same number of threads. How far a mark lies below it is what a better lowering "
            "or runtime could gain at most.",
        ),
        pictures=tuple(pictures),
        tables=(Table(counted(len(able), "measurement"), _COLUMNS, tuple(_row(entry) for entry in able)),),
    )


def _roofed(measurement: Measurement) -> bool:
    floor = measurement.floor
    return bool(measurement.model.macs and floor.bytes_moved and floor.peak_macs_per_s and floor.peak_bytes_per_s)


def _roof(floor: Floor) -> tuple[float, float]:
    """The peaks, in multiply-adds and bytes a second."""
    assert floor.peak_macs_per_s is not None
    assert floor.peak_bytes_per_s is not None
    return floor.peak_macs_per_s, floor.peak_bytes_per_s


def _point(entry: Entry) -> _Point:
    measurement = entry.measurement
    macs, moved = measurement.model.macs, measurement.floor.bytes_moved
    assert macs is not None
    assert moved is not None
    return _Point(entry.marked, macs, moved, measurement.p50_s.value, measurement.model.target)


def _operator_points(entry: Entry) -> list[_Point]:
    """The kinds of operators of a profiled measurement, where both their multiply-adds and bytes are known."""
    measurement = entry.measurement
    sums: dict[str, list[float]] = {}
    for one in measurement.operators.operators if measurement.operators else ():
        if one.macs and one.bytes_moved and one.time_s > 0:
            of = sums.setdefault(one.operator, [0, 0, 0.0])
            for index, addend in enumerate((one.macs, one.bytes_moved, one.time_s)):
                of[index] += addend
    return [
        _Point(kind, int(macs), int(moved), time_s, measurement.model.target) for kind, (macs, moved, time_s) in sums.items()
    ]


def _row(entry: Entry) -> tuple[Cell, ...]:
    point, floor = _point(entry), entry.measurement.floor
    peak_macs, peak_bytes = _roof(floor)
    times = None if floor.floor_s is None else point.time_s / floor.floor_s
    return (
        words(entry.label, marks=entry.marks),
        words(floor.bound),
        number(point.macs, digits(point.macs / 1e9)),
        number(point.bytes_moved, digits(point.bytes_moved / 1e6)),
        number(point.intensity, digits(point.intensity)),
        number(point.rate, digits(point.rate)),
        number(peak_macs, digits(peak_macs / 1e9)),
        number(peak_bytes, digits(peak_bytes / 1e9)),
        number(times, "" if times is None else digits(times)),
    )


def _picture(roof: tuple[float, float], where: str, entries: Sequence[Entry], name: str) -> Picture:
    drawn = entries[: style.MOST_DRAWN]
    return Picture(
        name,
        _drawn(roof, [_point(entry) for entry in drawn]),
        f"Roofline of {where} with {counted(len(drawn), 'model')}.",
        f"{where}: one mark a model, under the machine's roof." + style.left_out(len(drawn), len(entries), "first"),
    )


def _operators_picture(entry: Entry, name: str) -> Picture:
    points = sorted(_operator_points(entry), key=lambda point: -point.time_s)[: style.MOST_DRAWN]
    return Picture(
        name,
        _drawn(_roof(entry.measurement.floor), points, sized=True),
        f"Roofline of the operators of {entry.marked}.",
        f"{entry.marked}: one mark a kind of operator, its area the time it takes. Operators run from the processor's "
        "caches, so one may lie above the slope.",
    )


def _drawn(roof: tuple[float, float], points: Sequence[_Point], *, sized: bool = False) -> Figure:
    figure = style.figure(3.6)
    axes = figure.add_subplot()
    peak_macs, peak_bytes = roof
    ridge = peak_macs / peak_bytes
    low, high = style.around([ridge / 2, ridge * 2, *(point.intensity for point in points)], margin=0.1)
    slowest = min(point.rate for point in points)
    bottom, top = style.around([slowest, peak_macs / 1e9, *(point.rate for point in points)], margin=0.12)
    style.plain_log(axes, "x", low / 2, high * 2)
    style.plain_log(axes, "y", bottom / 1.5, top * 1.5)
    across = np.geomspace(low / 2, high * 2, 200)
    axes.plot(across, np.minimum(peak_macs, across * peak_bytes) / 1e9, color=style.INK, linewidth=1.6, label="roof")
    axes.grid()
    axes.annotate(
        f"{digits(peak_macs / 1e9)} GMAC/s, {digits(peak_bytes / 1e9)} GB/s",
        (high * 2, peak_macs / 1e9), xytext=(-2, 4), textcoords="offset points", ha="right", fontsize=8, color=style.INK,
    )  # fmt: skip
    labels = []
    total = sum(point.time_s for point in points)
    for point in points:
        color, marker = style.look(point.target)
        size = max(4.0, 22 * (point.time_s / total) ** 0.5) if sized else style.MARK_PT
        labels.append(style.Mark(point.intensity, point.rate, point.label, size))
        axes.plot([point.intensity], [point.rate], marker, color=color, markersize=size, alpha=0.75, label=point.label)
    axes.set_xlabel("multiply-adds per byte moved")
    axes.set_ylabel("reached, GMAC/s")
    style.label_marks(axes, labels)
    return figure
