"""The verdicts as Markdown for a step's summary, and as a GitHub workflow's annotations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgekit.gate import wording
from edgekit.gate.verdicts import Report

_LEVELS = {"FAIL": "error", "INCONCLUSIVE": "warning"}


def markdown(report: Report) -> str:
    """A heading with the outcome, and a table of all verdicts, the gravest first."""
    order = ("FAIL", "INCONCLUSIVE", "PASS")
    lines = [f"## edgekit gate: {report.outcome}", "", wording.counts(report), "", _line(wording.COLUMNS)]
    lines.append(_line(["---"] * len(wording.COLUMNS)))
    for verdict in sorted(report.verdicts, key=lambda verdict: order.index(verdict.outcome)):
        cells = [_escaped(cell) for cell in wording.row(verdict)]
        lines.append(_line([f"**{cell}**" if cell in _LEVELS else cell for cell in cells]))
    if said := wording.unjudged(report):
        lines += ["", _escaped(said)]
    return "\n".join(lines) + "\n"


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text that stays text in a table's cell: no line ends, and neither HTML nor Markdown of its own."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    for special in "\\`*_[]|":
        text = text.replace(special, f"\\{special}")
    return text


def workflow_commands(report: Report, budgets: Path) -> Iterator[str]:
    """A workflow command for every verdict that is not PASS, at the budgets file. GitHub shows ten errors and ten warnings a
    step; the summary has them all."""
    for verdict in report.verdicts:
        if verdict.outcome in _LEVELS:
            title = f"{verdict.outcome}: {wording.limit(verdict.check)}"
            place = f"file={_property(str(budgets))},title={_property(title)}"
            yield f"::{_LEVELS[verdict.outcome]} {place}::{_data(wording.sentence(verdict))}"


def _data(text: str) -> str:
    """A message in which no line end and no percent sign is left to be read as a command's."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A property's value, in which colons and commas would end it, too."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def is_step_summary(path: Path) -> bool:
    """Whether it is the file that a GitHub workflow's step adds its summary to."""
    return str(path) == os.environ.get("GITHUB_STEP_SUMMARY")
