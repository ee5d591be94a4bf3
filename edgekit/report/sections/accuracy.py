"""How accurate each model is, and what it lost against its reference."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.evaluation import table as wording
from edgekit.evaluation.accuracy import Against
from edgekit.profiling.measurement import Estimate
from edgekit.report import style
from edgekit.report.collection import Collection, elided, printable, samples
from edgekit.report.content import UNKNOWN, Cell, Column, Picture, Section, Table, number, words
from edgekit.report.entry import Evaluated
from edgekit.report.quantities import counted

_COLUMNS = (
    Column("subject"),
    Column("top-1 % [95\N{NO-BREAK SPACE}%]", number=True),
    Column("top-5 %", number=True),
    Column("compared with"),
    Column("points lost", number=True),
    Column("what can be said"),
    Column("agreement %", number=True),
    Column("KL nats", number=True),
    Column("SQNR dB", number=True),
    Column("McNemar's p", number=True),
)
_SHIFT_COLUMNS = (
    Column("subject"),
    Column("label"),
    Column("taken for"),
    Column("by the reference", number=True),
    Column("by the subject", number=True),
    Column("change", number=True),
)


def section(collection: Collection) -> Section:
    """Every evaluation, a table and a figure for each set of data."""
    if not collection.evaluated:
        return Section("accuracy", "Accuracy", absent="accuracy is told by `edgekit evaluate --output`: give that file too")
    groups: dict[tuple[str, int], list[Evaluated]] = {}
    for one in collection.evaluated:
        groups.setdefault((one.accuracy.data.sha256, one.accuracy.data.images), []).append(one)
    drawn = [compared for group in groups.values() if (compared := [one for one in group if _drop(one) is not None])]
    return Section(
        "accuracy",
        "Accuracy",
        sentences=(
            "Points lost are of top-1, sample by sample against the reference, with the 95 % interval of the paired "
            "difference: a loss is called one only where it leaves out 0. Agreement, divergence (KL) and SQNR compare the "
            "outputs themselves.",
        ),
        pictures=tuple(_picture(group, index) for index, group in enumerate(drawn[: style.MOST_FIGURES], start=1)),
        tables=tuple(table for group in groups.values() for table in _tables(group)),
        remarks=tuple(_remarks(collection.evaluated)),
    )


def _drop(one: Evaluated) -> Estimate | None:
    return one.accuracy.against.accuracy_drop_points if one.accuracy.against else None


def _tables(group: Sequence[Evaluated]) -> list[Table]:
    """The figures, and the confusions that changed."""
    found = [Table(f"On {samples(group[0].accuracy.data)}", _COLUMNS, tuple(map(_row, group)))]
    shifts = tuple(row for one in group for row in _shifts(one))
    return [*found, *([Table("Confusions that changed most", _SHIFT_COLUMNS, shifts)] if shifts else [])]


def _row(one: Evaluated) -> tuple[Cell, ...]:
    accuracy, against = one.accuracy, one.accuracy.against
    return (
        words(one.label, detail=accuracy.runtime),
        _cell(accuracy.top1_percent, ".2f"),
        _cell(accuracy.top5_percent, ".2f"),
        *(_compared(against) if against else [Cell(UNKNOWN, None)] * 7),
    )


def _compared(against: Against) -> list[Cell]:
    drop, p = against.accuracy_drop_points, against.mcnemar_p
    return [
        words(elided(printable(against.reference))),
        _cell(drop, ".2f"),
        words(wording.finding(drop) if drop else None),
        _cell(against.agreement_percent, ".2f"),
        _cell(against.kl_nats, ".2g"),
        _cell(against.sqnr_db, ".1f"),
        number(p, "" if p is None else f"{p:.2g}"),
    ]


def _cell(estimate: Estimate | None, form: str) -> Cell:
    if estimate is None:
        return Cell(UNKNOWN, None)
    text, _, interval = wording.with_interval(estimate, form).partition(" ")
    return number(estimate.value, text, detail=interval.replace(" ", "\N{NO-BREAK SPACE}"))


def _shifts(one: Evaluated) -> list[tuple[Cell, ...]]:
    shifts = one.accuracy.against.shifts if one.accuracy.against else None
    return [
        (
            words(one.label),
            words(printable(shift.label)),
            words(printable(shift.predicted)),
            number(shift.reference, f"{shift.reference:,}"),
            number(shift.subject, f"{shift.subject:,}"),
            number(shift.subject - shift.reference, f"{shift.subject - shift.reference:+,}"),
        )
        for shift in shifts or ()
    ]


def _remarks(evaluated: Sequence[Evaluated]) -> list[str]:
    return [
        f"{one.label}: NaN or infinity for {one.accuracy.not_finite:,} of {one.accuracy.data.images:,} samples, counted as "
        "wrong and left out of KL and SQNR."
        for one in evaluated
        if one.accuracy.not_finite
    ]


def _picture(group: Sequence[Evaluated], index: int) -> Picture:
    """A forest plot: the points each lost, with the interval, no loss at 0."""
    known = sorted(((one, drop) for one in group if (drop := _drop(one))), key=lambda pair: pair[1].value)
    shown = known[: style.MOST_DRAWN]
    figure, axes = style.rows_figure(len(shown))
    for row, (one, drop) in enumerate(shown):
        color, marker = style.look(one.accuracy.model.target)
        assert drop.low is not None
        assert drop.high is not None
        axes.plot([drop.low, drop.high], [row, row], "|-", color=color, markersize=7, label="interval")
        axes.plot([drop.value], [row], marker, color=color, label="drop")
        style.at_right(axes, row, wording.verdict(drop))
    axes.axvline(0, color=style.INK, linewidth=1, zorder=1)
    style.name_rows(axes, [one.label for one, _ in shown])
    axes.margins(x=0.08)
    axes.set_xlabel("percentage points of top-1 lost against the reference (right of 0 is worse)")
    return Picture(
        f"accuracy-{index}",
        figure,
        f"Percentage points of top-1 that {counted(len(shown), 'model')} lost, each with its interval.",
        f"On {samples(group[0].accuracy.data)}. Bars are 95 % intervals of the paired difference."
        + style.left_out(len(shown), len(known), "most accurate"),
    )
