"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from edgekit.report import svg
from edgekit.report.content import Cell, Column, Section

_LONG_WORD = 24
"""Characters beyond which a word may be broken anywhere."""


def render(title: str, sections: Sequence[Section]) -> str:
    """The whole page. Whatever comes from results is escaped; only edgekit's own figures, styles and script are not."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgekit.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    files = resources.files("edgekit.report") / "templates"
    figures = {
        picture.name: Markup(svg.render(picture)) for section in sections for picture in section.pictures
    }  # built from matplotlib's own elements, whose text ElementTree escapes
    return environment.get_template("report.html.j2").render(
        title=title,
        present=[section for section in sections if section.absent is None],
        absent=[section for section in sections if section.absent is not None],
        figures=figures,
        classes=_classes,
        css=Markup((files / "report.css").read_text(encoding="utf-8")),
        script=Markup((files / "sort.js").read_text(encoding="utf-8")),
    )


def _classes(column: Column, cell: Cell) -> str | None:
    """The CSS classes of a cell."""
    long = any(len(word) > _LONG_WORD for word in f"{cell.text} {cell.detail}".split())
    return " ".join([*(["number"] if column.number else []), *(["long"] if long else [])]) or None
