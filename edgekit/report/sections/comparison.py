"""Which is faster, by how much, and whether that can be told."""

from __future__ import annotations

from edgekit.profiling.comparison import Comparison
from edgekit.report import style
from edgekit.report.collection import Collection
from edgekit.report.content import Cell, Column, Picture, Section, Table, number, words
from edgekit.report.contest import Contender, Contest
from edgekit.report.quantities import counted, digits

_COLUMNS = (
    Column("subject"),
    Column("compared with"),
    Column("ratio of latencies [95\N{NO-BREAK SPACE}%]", number=True),
    Column("what can be said"),
    Column("measured"),
)


def section(collection: Collection) -> Section:
    """Every measurement shown, against the first one it compares with."""
    contests = collection.contests
    if not contests:
        return Section(
            "comparison",
            "Comparison",
            absent="a comparison takes two measurements from one device with the same threads: "
            "give `edgekit profile` several subjects at once",
        )
    rows = tuple(_row(contest, other) for contest in contests for other in contest.others)
    return Section(
        "comparison",
        "Comparison",
        sentences=(
            "A ratio below 1 is faster. A difference is called one only where the 95 % interval leaves out 1. Subjects of "
            "one job were interleaved, so that what the machine did hit them alike; between jobs, its drift is in the "
            "ratio.",
        ),
        pictures=tuple(_picture(contest, index) for index, contest in enumerate(contests[: style.MOST_FIGURES])),
        tables=(Table(counted(len(rows), "comparison"), _COLUMNS, rows),),
    )


def _row(contest: Contest, other: Contender) -> tuple[Cell, ...]:
    comparison = other.comparison
    return (
        words(other.entry.label, marks=other.entry.marks),
        words(contest.reference.label, marks=contest.reference.marks),
        number(comparison.ratio.value, ratio(comparison.ratio.value), detail=_interval(comparison)),
        words(comparison.verdict),
        words("interleaved" if other.interleaved else "in separate jobs"),
    )


def ratio(value: float) -> str:
    """A ratio, to the thousandth where it is near 1."""
    return f"{value:.3f}" if value < 10 else digits(value)


def _interval(comparison: Comparison) -> str:
    estimate = comparison.ratio
    return "" if estimate.low is None or estimate.high is None else f"[{ratio(estimate.low)}, {ratio(estimate.high)}]"


def _picture(contest: Contest, index: int) -> Picture:
    """A forest plot: each ratio with its interval, on a logarithmic axis, the reference at 1."""
    drawn = sorted(contest.others, key=lambda other: other.comparison.ratio.value)[: style.MOST_DRAWN]
    figure, axes = style.rows_figure(len(drawn))
    values = [1.0]
    for row, other in enumerate(drawn):
        estimate = other.comparison.ratio
        color, marker = style.look(other.entry.measurement.model.target)
        low, high = estimate.low or estimate.value, estimate.high or estimate.value
        values += [low, estimate.value, high]
        axes.plot([low, high], [row, row], "|-", color=color, markersize=7, label="interval")
        axes.plot([estimate.value], [row], marker, color=color, label="ratio")
        style.at_right(axes, row, other.comparison.verdict)
    axes.axvline(1, color=style.INK, linewidth=1, zorder=1)
    style.name_rows(axes, [other.entry.marked for other in drawn])
    style.plain_log(axes, "x", *style.around(values, margin=0.1))
    axes.set_xlabel(f"latency, times that of {contest.reference.marked} (left of 1 is faster)")
    return Picture(
        f"comparison-{index + 1}",
        figure,
        f"Ratios of latency to that of {contest.reference.marked}, each with its interval.",
        f"Ratio of median latencies to {contest.reference.marked}, with the 95 % interval, on a logarithmic axis."
        + style.left_out(len(drawn), len(contest.others), "fastest"),
    )
