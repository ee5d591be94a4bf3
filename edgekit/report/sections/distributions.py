"""How latencies are distributed, process by process: what the intervals rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from edgekit.report import style
from edgekit.report.collection import Collection
from edgekit.report.content import Column, Picture, Section, Table, number, words
from edgekit.report.entry import Entry
from edgekit.report.quantities import counted, ms_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from edgekit.profiling.measurement import Measurement, Process

_MOST_BINS = 60
_FEWEST_RUNS = 8
_MOST_PROCESSES = 16
_PANELS_ACROSS = 2
_COLUMNS = (
    Column("subject"),
    Column("process", number=True),
    Column("runs", number=True),
    Column("median ms", number=True),
    Column("fastest ms", number=True),
    Column("slowest ms", number=True),
    Column("warm-up runs", number=True),
    Column("steady"),
    Column("waited", number=True),
)


def section(collection: Collection) -> Section:
    """The distribution of each measurement shown in full, by process."""
    able = [entry for entry in collection.shown if entry.measurement.runs >= _FEWEST_RUNS]
    if not able:
        return Section(
            "distributions", "Latency distributions", absent=f"distributions take {_FEWEST_RUNS} runs: measure for longer"
        )
    processes = [row for entry in collection.shown for row in enumerate(entry.measurement.processes, start=1)]
    return Section(
        "distributions",
        "Latency distributions",
        sentences=(
            "Every process is a line of its own, from a binned count of all its runs. Processes that disagree, two humps or "
            "a long tail mean that something besides the model decides how long a run takes.",
        ),
        pictures=(_picture(able),),
        tables=(
            Table(
                f"{counted(len(processes), 'process', 'processes')}",
                _COLUMNS,
                tuple(
                    (
                        words(entry.label, marks=entry.marks),
                        number(index, str(index)),
                        number(len(process.latency_s), f"{len(process.latency_s):,}"),
                        ms_cell(float(np.median(process.latency_s))),
                        ms_cell(min(process.latency_s)),
                        ms_cell(max(process.latency_s)),
                        number(process.warmup_runs, str(process.warmup_runs)),
                        words({True: "yes", False: "no", None: None}[process.steady]),
                        number(process.waited_share, "" if process.waited_share is None else f"{process.waited_share:.1%}"),
                    )
                    for entry in collection.shown
                    for index, process in enumerate(entry.measurement.processes, start=1)
                ),
            ),
        ),
    )


def _picture(entries: list[Entry]) -> Picture:
    drawn = entries[: style.MOST_DRAWN]
    across = min(_PANELS_ACROSS, len(drawn))
    down = -(-len(drawn) // across)
    ridges = max(min(len(entry.measurement.processes), _MOST_PROCESSES) for entry in drawn)
    figure = style.figure(down * (1.05 + (0.34 if ridges <= 4 else 0.18) * ridges), gap_in=0.12)
    panels = figure.subplots(down, across, squeeze=False).flatten()
    for panel, entry in zip(panels, drawn, strict=False):
        _draw(panel, entry)
    for panel in panels[len(drawn) :]:
        panel.set_visible(False)
    return Picture(
        "distributions",
        figure,
        f"Distribution of the latencies of {counted(len(drawn), 'measurement')}, one line a process.",
        "One panel a measurement, each with an axis of its own; a line is one process, a dot its median, the grey band the "
        "95 % interval of the median of all." + style.left_out(len(drawn), len(entries), "first"),
    )


def _draw(axes: Axes, entry: Entry) -> None:
    """The processes of one measurement, the first on top."""
    measurement = entry.measurement
    color, marker = style.look(measurement.model.target)
    edges, beyond = _edges(measurement)
    processes = measurement.processes[:_MOST_PROCESSES]
    for row, process in enumerate(processes):
        _draw_process(axes, process, edges, base=float(len(processes) - 1 - row), color=color, marker=marker)
    p50 = measurement.p50_s
    if p50.low is not None and p50.high is not None:
        axes.axvspan(p50.low * 1e3, p50.high * 1e3, color=style.RULE, linewidth=0, zorder=0, label="interval")
    axes.set_title(style.title(entry.label, entry.marks))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_yticks(
        [len(processes) - 1 - row for row in range(len(processes))], [f"process {n + 1}" for n in range(len(processes))]
    )
    axes.set_ylim(-0.12, len(processes))
    axes.set_xlim(edges[0], edges[-1])
    axes.spines["left"].set_visible(False)
    hidden = len(measurement.processes) - len(processes)
    notes = [f"{counted(beyond, 'run')} beyond the right edge" if beyond else "", f"{hidden} processes more" if hidden else ""]
    axes.set_xlabel("; ".join(["ms", *filter(None, notes)]))


def _edges(measurement: Measurement) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], int]:
    """Edges of the bins in milliseconds, up to the 99.5th percentile, and how many runs are slower."""
    pooled = np.concatenate([process.latency_s for process in measurement.processes]) * 1e3
    low, high = float(pooled.min()), float(np.quantile(pooled, 0.995))
    air = 0.04 * (high - low) or 0.02 * low
    runs = pooled.size / len(measurement.processes)
    bins = min(_MOST_BINS, max(12, round(2 * runs**0.5)))
    return np.linspace(low - air, high + air, bins + 1), int((pooled > high + air).sum())


def _draw_process(
    axes: Axes,
    process: Process,
    edges: np.ndarray[tuple[int], np.dtype[np.float64]],
    *,
    base: float,
    color: str,
    marker: str,
) -> None:
    """One process as an outline standing on `base`, its peak 0.85 high."""
    milliseconds = np.asarray(process.latency_s) * 1e3
    counts, _ = np.histogram(milliseconds, bins=edges)
    heights = base + 0.85 * counts / max(counts.max(), 1)
    axes.stairs(heights, edges, baseline=base, fill=True, color=color, alpha=0.25, linewidth=0)
    axes.stairs(heights, edges, baseline=base, color=color, linewidth=1)
    axes.plot([float(np.median(milliseconds))], [base], marker, color=color, markersize=5, clip_on=False, label="median")
