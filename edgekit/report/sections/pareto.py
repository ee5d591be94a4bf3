"""What is given up for what: latency, size and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.report import style
from edgekit.report.collection import Collection, machine, threads
from edgekit.report.content import UNKNOWN, Cell, Column, Picture, Section, Table, number, words
from edgekit.report.entry import Entry
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
    accuracy: float | None
    """Top-1 in percent."""
    source: str | None
    """Where the accuracy is from."""

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
    groups: dict[tuple[object, ...], list[Choice]] = {}
    for entry in collection.shown:
        if entry.measurement.model.size_bytes is not None:
            fingerprint, conditions = entry.measurement.fingerprint, entry.measurement.conditions
            alike = (fingerprint.device, machine(fingerprint), fingerprint.threads, conditions.mode, conditions.batch)
            groups.setdefault((*alike, entry.measurement.reference_timing), []).append(_choice(entry))
    contested = [choices for choices in groups.values() if len(choices) > 1]
    if not contested:
        return Section(
            "pareto",
            "Latency, size and accuracy",
            absent="a choice takes two measurements of known size from one device",
        )
    pictures = [_picture(choices, index) for index, choices in enumerate(contested[: style.MOST_FIGURES], start=1)]
    rows = tuple(row for choices in contested for row in _rows(choices))
    remarks: tuple[str, ...] = ()
    if any(choice.accuracy is not None for choices in contested for choice in choices):
        remarks = (
            "Published accuracy is the paper's, with the paper's weights and precision: none was evaluated here, and an "
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


def _choice(entry: Entry) -> Choice:
    from edgekit import models

    name = entry.measurement.model.name
    family = models.family_of(name)
    variant = models.variants(family).get(name) if family else None
    if variant is None:
        return Choice(entry, None, None)
    return Choice(entry, variant.published_top1, f"published: {variant.source}")


def front(choices: Sequence[Choice]) -> list[Choice]:
    """Those that none of the others beats: no worse in everything and better in something. Accuracy counts where all have "
    "it."""
    accuracy = all(choice.accuracy is not None for choice in choices)
    costs = {id(choice): choice.costs(accuracy=accuracy) for choice in choices}

    def beaten(choice: Choice) -> bool:
        own = costs[id(choice)]
        return any(
            other != own and all(theirs <= ours for theirs, ours in zip(other, own, strict=True)) for other in costs.values()
        )

    return [choice for choice in choices if not beaten(choice)]


def _rows(choices: Sequence[Choice]) -> list[tuple[Cell, ...]]:
    best = {id(choice) for choice in front(choices)}
    return [
        (
            words(choice.entry.label, marks=choice.entry.marks),
            number(choice.latency_s, digits(choice.latency_s * 1e3), detail=interval(choice.entry.measurement.p50_s, 1e3)),
            mb_cell(choice.size_bytes),
            Cell(UNKNOWN, None) if choice.accuracy is None else number(choice.accuracy, f"{choice.accuracy:.1f}"),
            words(choice.source),
            words("yes" if id(choice) in best else "no"),
        )
        for choice in choices
    ]


def _picture(choices: Sequence[Choice], index: int) -> Picture:
    """Size against latency and, where any is known, accuracy against latency."""
    drawn = sorted(choices, key=lambda choice: choice.latency_s)[: style.MOST_DRAWN]
    known = [choice for choice in drawn if choice.accuracy is not None]
    if len({choice.accuracy for choice in known}) == 1:  # one model: its accuracy decides nothing
        known = []
    figure = style.figure(3.3 if not known else 6.2, gap_in=0.08)
    panels = figure.subplots(2 if known else 1, 1, squeeze=False, sharex=True).flatten()
    best = {id(choice) for choice in front(choices)}
    sizes = [(choice.size_bytes or 0) / 1e6 for choice in drawn]
    style.magnitudes(panels[-1], "y", sizes)
    labelled = [(panels[-1], _draw(panels[-1], drawn, sizes, best))]
    if known:
        labelled.append((panels[0], _draw(panels[0], known, [choice.accuracy or 0.0 for choice in known], best)))
        panels[0].set_ylabel("published top-1, %")
        panels[0].margins(y=0.18)
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
        + (" Accuracy is published, not measured here." if known else "")
        + style.left_out(len(drawn), len(choices), "fastest"),
    )


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
