"""What each run cost: time, loading, memory, energy, size, beside the time the machine could do it in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from matplotlib.markers import CARETLEFT

from edgekit.profiling import statistics
from edgekit.profiling.measurement import Estimate, Measurement
from edgekit.report import style
from edgekit.report.collection import Collection, machine, threads
from edgekit.report.content import NO_MEASUREMENTS, UNKNOWN, Cell, Column, Picture, Section, Table, number, words
from edgekit.report.entry import Entry
from edgekit.report.quantities import counted, digits, interval, listed, mb_cell, ms_cell
from edgekit.report.style import MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = (
    Column("subject"),
    Column("device, runtime"),
    Column("p50 ms [95\N{NO-BREAK SPACE}%]", number=True),
    Column("p90 ms", number=True),
    Column("p99 ms", number=True),
    Column("cold load ms", number=True),
    Column("warm load ms", number=True),
    Column("memory MB", number=True),
    Column("energy mJ", number=True),
    Column("size MB", number=True),
    Column("floor ms", number=True),
)
_ENERGY_STATUS = {"not_requested": "not asked for"}


def section(collection: Collection) -> Section:
    """Every measurement shown in full."""
    shown = collection.shown
    if not shown:
        return Section("latency", "Measurements", absent=NO_MEASUREMENTS)
    return Section(
        "latency",
        "Measurements",
        sentences=(
            "Times are of one run, warm-up left out; brackets hold the 95 % interval. Memory is what opening and running "
            "the model added to its process. The floor is the least time this machine could take, by its measured peak; "
            "below it, how many times that the median is.",
        ),
        pictures=(_picture(shown),),
        tables=(Table(counted(len(shown), "measurement"), _COLUMNS, tuple(_row(entry) for entry in shown)),),
        remarks=_remarks(shown),
    )


def _row(entry: Entry) -> tuple[Cell, ...]:
    measurement = entry.measurement
    fingerprint = measurement.fingerprint
    return (
        words(entry.label, marks=entry.marks),
        words(machine(fingerprint), detail=f"{fingerprint.runtime}, {threads(fingerprint)}"),
        _quantile(measurement.p50_s),
        _tail(measurement, measurement.p90_s, 0.9),
        _tail(measurement, measurement.p99_s, 0.99),
        ms_cell(measurement.cold_load_s),
        ms_cell(measurement.warm_load_s),
        _memory(measurement),
        _energy(measurement),
        mb_cell(measurement.model.size_bytes),
        _floor(measurement),
    )


def _quantile(estimate: Estimate) -> Cell:
    return number(estimate.value, digits(estimate.value * 1e3), detail=interval(estimate, 1e3))


def _tail(measurement: Measurement, estimate: Estimate, q: float) -> Cell:
    """A high quantile, only where the sample can bound it."""
    needed = statistics.minimum_samples(q)
    if measurement.runs < needed:
        return Cell(UNKNOWN, None, f"takes {needed} runs")
    return _quantile(estimate)


def _memory(measurement: Measurement) -> Cell:
    """What the run took, and beside it what it took of a GPU."""
    gpu = measurement.memory.gpu_peak_bytes
    beside = "" if gpu is None else f"and {digits(gpu / 1e6)} on the GPU"
    return dataclasses.replace(mb_cell(measurement.memory.run_peak_bytes), detail=beside)


def _energy(measurement: Measurement) -> Cell:
    energy = measurement.energy
    if energy.gross_j is None:
        return Cell(UNKNOWN, None, _ENERGY_STATUS.get(energy.status, energy.status.replace("_", " ")))
    net = "" if energy.net_j is None else f"{digits(energy.net_j * 1e3)} above idle"
    return number(energy.gross_j, digits(energy.gross_j * 1e3), detail=", ".join(filter(None, (net, energy.scope))))


def _floor(measurement: Measurement) -> Cell:
    floor = measurement.floor
    if floor.floor_s is None:
        return Cell(UNKNOWN, None)
    times = f"{digits(measurement.p50_s.value / floor.floor_s)}x, {floor.bound}"
    return number(floor.floor_s, digits(floor.floor_s * 1e3), detail=times)


def _remarks(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Why dashes are dashes, each reason once."""
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        measurement = entry.measurement
        if measurement.floor.reason:
            reasons.setdefault(f"No floor: {measurement.floor.reason}", []).append(entry.label)
        if measurement.energy.status != "not_requested" and measurement.energy.gross_j is None and measurement.energy.reason:
            reasons.setdefault(f"No energy: {measurement.energy.reason}", []).append(entry.label)
        if measurement.p50_s.reason:
            reasons.setdefault(f"No interval: {measurement.p50_s.reason}", []).append(entry.label)
    return tuple(f"{reason} ({_whose(labels, len(entries))})." for reason, labels in reasons.items())


def _whose(labels: Sequence[str], of: int) -> str:
    return "all of them" if len(labels) == of > 1 else listed(labels, 4)


def _picture(entries: Sequence[Entry]) -> Picture:
    """Medians with their intervals, p90 and p99, and the floor, each measurement a row."""
    drawn = sorted(entries, key=lambda entry: entry.measurement.p50_s.value)[: style.MOST_DRAWN]
    figure, axes = style.rows_figure(len(drawn))
    reached = []
    for row, entry in enumerate(drawn):
        reached += [*_draw_row(axes, row, entry.measurement)]
    style.name_rows(axes, [entry.marked for entry in drawn])
    style.magnitudes(axes, "x", reached)
    axes.set_xlabel("latency of one run, ms")
    return Picture(
        "latency",
        figure,
        f"Median latency of {counted(len(drawn), 'measurement')} with intervals, the fastest on top.",
        "Median with its 95 % interval (bar); p90 (short tick) and p99 (long tick) where the sample bounds them; an "
        "arrowhead is the floor." + style.left_out(len(drawn), len(entries), "fastest"),
    )


def _draw_row(axes: Axes, row: int, measurement: Measurement) -> Iterator[float]:
    """One measurement; gives the milliseconds it reaches from and to."""
    color, marker = style.look(measurement.model.target)
    p50 = measurement.p50_s
    if p50.low is not None and p50.high is not None:
        axes.plot([p50.low * 1e3, p50.high * 1e3], [row, row], color=color, linewidth=4, solid_capstyle="butt", alpha=0.4)
    right = p50.value * 1e3
    for estimate, q, size in ((measurement.p90_s, 0.90, 6), (measurement.p99_s, 0.99, 11)):
        if measurement.runs >= statistics.minimum_samples(q):
            axes.plot([estimate.value * 1e3], [row], "|", color=MUTED, markersize=size, label=f"p{100 * q:.0f}")
            right = max(right, estimate.value * 1e3)
    axes.plot([p50.value * 1e3], [row], marker, color=color, label="p50")
    style.beside(axes, right, row, digits(p50.value * 1e3))
    yield p50.value * 1e3
    yield right
    if measurement.floor.floor_s is not None:
        axes.plot([measurement.floor.floor_s * 1e3], [row], marker=CARETLEFT, color=MUTED, markersize=5, label="floor")
        yield measurement.floor.floor_s * 1e3
