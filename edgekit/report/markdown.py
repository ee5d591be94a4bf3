"""The report as Markdown, with its figures as SVG files beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgekit.report.content import Cell, Section, Table

FIGURES = "figures"
"""The folder of the figures."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~$&])")
_BREAKS = re.compile(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


def render(title: str, sections: Sequence[Section]) -> str:
    """The whole document."""
    lines = [f"# {escape(title)}", ""]
    for section in sections:
        if section.absent is None:
            lines += [f"## {escape(section.title)}", "", *_section(section)]
    absent = [f"- **{escape(section.title)}**: {escape(section.absent)}." for section in sections if section.absent]
    if absent:
        lines += ["## Not in this report", "", *absent, ""]
    return "\n".join(lines)


def _section(section: Section) -> list[str]:
    lines = [line for sentence in section.sentences for line in (escape(sentence), "")]
    for picture in section.pictures:
        lines += [f"![{escape(picture.description)}]({FIGURES}/{picture.name}.svg)", "", escape(picture.caption), ""]
    for table in section.tables:
        lines += [f"**{escape(table.caption)}**", "", *_table(table), ""]
    for remark in section.remarks:
        lines += [escape(remark), ""]
    return lines


def _table(table: Table) -> list[str]:
    titles = " | ".join(escape(column.title) for column in table.columns)
    rules = " | ".join("---:" if column.number else "---" for column in table.columns)
    return [f"| {titles} |", f"| {rules} |", *(f"| {' | '.join(map(_cell, row))} |" for row in table.rows)]


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.marks:
        text += f" **{escape(', '.join(cell.marks))}**"
    return f"{text} {escape(cell.detail)}" if cell.detail else text


def escape(text: str) -> str:
    """The text such that Markdown shows it as it is, in one line."""
    return _SPECIAL.sub(r"\\\1", _BREAKS.sub(" ", text))
