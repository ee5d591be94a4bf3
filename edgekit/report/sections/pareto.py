"""What is given up for what: latency, size and accuracy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.evaluation.accuracy import Accuracy
from edgekit.profiling.measurement import Estimate
from edgekit.report import style
from edgekit.report.collection import Collection, machine, samples, threads
from edgekit.report.content import UNKNOWN, Cell, Column, Picture, Section, Table, number, words
from edgekit.report.entry import Entry, Evaluated
from edgekit.report.quantities import counted, digits, interval, mb_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = (
    Column("subject"),
    Column("p50 ms [95\N{NO-BREAK SPACE}%]", number=True),
    Column("size MB", number=True),
    Column("top-1 %", number=True),
    Column("accuracy from"),
    Column("on the front"),
)


@dataclass(frozen=True)
class Choice:
    """One measurement as a choice among others."""

    entry: Entry
    top1_percent: Estimate | None
    """Evaluated, with its interval, or published."""
    source: str | None
    """Where that is from."""

    @property
    def accuracy(self) -> float | None:
        """Top-1 in percent."""
        return None if self.top1_percent is None else self.top1_percent.value

    @property
    def latency_s(self) -> float:
        """Median."""
        return self.entry.measurement.p50_s.value

    @property
    def size_bytes(self) -> int | None:
        """Of the model's files."""
        return self.entry.measurement.model.size_bytes

    def costs(self, *, accuracy: bool) -> tuple[float, ...]:
        """What should be small; `accuracy` says whether it counts."""
        known = (self.latency_s, float(self.size_bytes or 0))
        return (*known, -(self.accuracy or 0.0)) if accuracy else known


def section(collection: Collection) -> Section:
    """The choices on each device with each number of threads, where there are two at least."""
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in collection.shown:
        if entry.measurement.model.size_bytes is not None:
            fingerprint, conditions = entry.measurement.fingerprint, entry.measurement.conditions
            alike = (fingerprint.device, machine(fingerprint), fingerprint.threads, conditions.mode, conditions.batch)
            groups.setdefault((*alike, entry.measurement.reference_timing), []).append(entry)
    contested = [_choices(entries, collection.evaluated) for entries in groups.values() if len(entries) > 1]
    if not contested:
        return Section(
            "pareto",
            "Latency, size and accuracy",
            absent="a choice takes two measurements of known size from one device",
        )
    pictures = [_picture(choices, index) for index, choices in enumerate(contested[: style.MOST_FIGURES], start=1)]
    rows = tuple(row for choices in contested for row in _rows(choices))
    remarks: tuple[str, ...] = ()
    if any(_is_published(choices) for choices in contested):
        remarks = (
            "Published accuracy is the paper's, with the paper's weights and precision: it was not evaluated here, and an "
            "artifact made of other weights, or in another precision, need not have it.",
        )
    return Section(
        "pareto",
        "Latency, size and accuracy",
        sentences=("On the front is what no other choice on the same device beats in one respect without losing in another.",),
        pictures=tuple(pictures),
        tables=(Table(counted(len(rows), "choice"), _COLUMNS, rows),),
        remarks=remarks,
    )


def _choices(entries: Sequence[Entry], evaluated: Sequence[Evaluated]) -> list[Choice]:
    """Each with what was evaluated of it, all on the same data; with what is published where nothing was."""
    found = [(entry, one.accuracy) for entry in entries for one in evaluated if _same_model(entry, one.accuracy)]
    known = [(entry, accuracy) for entry, accuracy in found if accuracy.top1_percent is not None]
    if not known:
        return [_published(entry) for entry in entries]
    [(data, _)] = Counter(accuracy.data for _, accuracy in known).most_common(1)
    on = {entry.label: accuracy.top1_percent for entry, accuracy in known if accuracy.data == data}
    return [Choice(one, on.get(one.label), f"{_EVALUATED}{samples(data)}" if one.label in on else None) for one in entries]


_EVALUATED, _PUBLISHED = "evaluated on ", "published: "


def _same_model(entry: Entry, accuracy: Accuracy) -> bool:
    """Whether that is what was evaluated: the same file, or a model that is none, under the same name."""
    measured, evaluated = entry.measurement.model, accuracy.model
    if measured.sha256 is not None:
        return measured.sha256 == evaluated.sha256
    return evaluated.sha256 is None and (entry.measurement.subject, measured.target) == (accuracy.subject, evaluated.target)


def _published(entry: Entry) -> Choice:
    from edgekit import models

    name = entry.measurement.model.name
    family = models.family_of(name)
    variant = models.variants(family).get(name) if family else None
    if variant is None:
        return Choice(entry, None, None)
    return Choice(entry, Estimate(variant.published_top1, None, None), f"{_PUBLISHED}{variant.source}")


def _is_published(choices: Sequence[Choice]) -> bool:
    return any((choice.source or "").startswith(_PUBLISHED) for choice in choices)


def front(choices: Sequence[Choice]) -> list[Choice]:
    """Those that none of the others beats."""
    return [choice for choice in choices if not any(_beats(other, choice) for other in choices)]


def _beats(one: Choice, other: Choice) -> bool:
    """Whether `one` is no worse in everything, and better in something. Accuracy counts where it is known of both."""
    accuracy = one.accuracy is not None and other.accuracy is not None
    mine, theirs = one.costs(accuracy=accuracy), other.costs(accuracy=accuracy)
    return mine != theirs and all(cost <= beside for cost, beside in zip(mine, theirs, strict=True))


def _rows(choices: Sequence[Choice]) -> list[tuple[Cell, ...]]:
    best = {id(choice) for choice in front(choices)}
    return [
        (
            words(choice.entry.label, marks=choice.entry.marks),
            number(choice.latency_s, digits(choice.latency_s * 1e3), detail=interval(choice.entry.measurement.p50_s, 1e3)),
            mb_cell(choice.size_bytes),
            _accuracy_cell(choice.top1_percent),
            words(choice.source),
            words("yes" if id(choice) in best else "no"),
        )
        for choice in choices
    ]


def _accuracy_cell(top1: Estimate | None) -> Cell:
    if top1 is None:
        return Cell(UNKNOWN, None)
    return number(top1.value, f"{top1.value:.1f}", detail=interval(top1))


def _picture(choices: Sequence[Choice], index: int) -> Picture:
    """Size against latency and, where any is known, accuracy against latency."""
    drawn = sorted(choices, key=lambda choice: choice.latency_s)[: style.MOST_DRAWN]
    known = [choice for choice in drawn if choice.accuracy is not None]
    published = _is_published(choices)
    if published and len({choice.accuracy for choice in known}) == 1:  # one model: its accuracy decides nothing
        known = []
    figure = style.figure(3.3 if not known else 6.2, gap_in=0.08)
    panels = figure.subplots(2 if known else 1, 1, squeeze=False, sharex=True).flatten()
    best = {id(choice) for choice in front(choices)}
    sizes = [(choice.size_bytes or 0) / 1e6 for choice in drawn]
    style.magnitudes(panels[-1], "y", sizes)
    labelled = [(panels[-1], _draw(panels[-1], drawn, sizes, best))]
    if known:
        labelled.append((panels[0], _draw(panels[0], known, [choice.accuracy or 0.0 for choice in known], best)))
        panels[0].set_ylabel(f"{'published ' if published else ''}top-1, %")
        panels[0].margins(y=0.18)
        for choice in known:
            _draw_interval(panels[0], choice)
    panels[-1].set_ylabel("size, MB")
    panels[-1].set_xlabel("median latency, ms")
    style.magnitudes(panels[-1], "x", [choice.latency_s * 1e3 for choice in drawn])
    for panel, points in labelled:  # once everything is in its place
        style.label_marks(panel, points)
    fingerprint = choices[0].entry.measurement.fingerprint
    where = f"{machine(fingerprint)}, {threads(fingerprint)}"
    return Picture(
        f"pareto-{index}",
        figure,
        f"Latency, size and accuracy of {counted(len(drawn), 'choice')}.",
        f"{where}. Filled marks are on the front, hollow ones are beaten; bars are 95 % intervals."
        + (f" Accuracy is {'published, not measured here' if published else known[0].source}." if known else "")
        + style.left_out(len(drawn), len(choices), "fastest"),
    )


def _draw_interval(axes: Axes, choice: Choice) -> None:
    """How far the accuracy is known, upright."""
    top1, color = choice.top1_percent, style.look(choice.entry.measurement.model.target)[0]
    if top1 is not None and top1.low is not None and top1.high is not None:
        axes.plot([choice.latency_s * 1e3] * 2, [top1.low, top1.high], color=color, linewidth=1)


def _draw(axes: Axes, choices: Sequence[Choice], heights: Sequence[float], best: set[int]) -> list[style.Mark]:
    """One mark a choice; gives them to be labelled."""
    axes.grid()
    points = []
    for choice, height in zip(choices, heights, strict=True):
        color, marker = style.look(choice.entry.measurement.model.target)
        estimate = choice.entry.measurement.p50_s
        reach = None
        if estimate.low is not None and estimate.high is not None:
            reach = estimate.low * 1e3, estimate.high * 1e3
            axes.plot(reach, [height, height], color=color, linewidth=1)
        face = color if id(choice) in best else "white"
        axes.plot([choice.latency_s * 1e3], [height], marker, color=color, markerfacecolor=face, label=choice.entry.label)
        points.append(style.Mark(choice.latency_s * 1e3, height, choice.entry.marked, reach=reach))
    return points
