"""Reports: what was measured, as one HTML file that needs nothing else, and as Markdown with its figures beside it.

::

    write([Path("results.json")], Path("report"))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import artifact, scratch
from edgekit.errors import InputError
from edgekit.profiling import results as results_files
from edgekit.report import html, markdown, sections, style, svg
from edgekit.report.collection import Collection, collect
from edgekit.report.content import Section
from edgekit.report.entry import Entry
from edgekit.report.quantities import listed

HTML, MARKDOWN = "edgekit-report.html", "edgekit-report.md"


@dataclass(frozen=True)
class Report:
    """A report that was written."""

    html: Path
    markdown: Path
    sections: tuple[Section, ...]

    def as_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "html": str(self.html),
            "markdown": str(self.markdown),
            "sections": [section.name for section in self.sections if section.absent is None],
            "absent": {section.name: section.absent for section in self.sections if section.absent is not None},
            "summary": list(self.sections[0].sentences),
        }


def write(results: Sequence[Path], directory: Path, *, force: bool = False) -> Report:
    """Write the report of `results` to `directory`, whole or not at all.

    Results are files, shown in full, and folders of past ones (`*.json`), of which the newest of each subject is shown in full
    where no file has it, and all are in the trend. Raises InputError that names the file that is missing or damaged, and
    OutputError for a directory that exists, unless it is a report and `force` is given.
    """
    artifact.check_output(directory, force=force, proof=HTML)
    collection = read(results)
    with style.applied(), scratch.folder() as work:
        made = tuple(sections.of(collection))
        built = work / "report"
        (built / markdown.FIGURES).mkdir(parents=True)
        title = _title(collection)
        (built / HTML).write_text(html.render(title, made), encoding="utf-8")
        (built / MARKDOWN).write_text(markdown.render(title, made), encoding="utf-8")
        for section in made:
            for picture in section.pictures:
                path = built / markdown.FIGURES / f"{picture.name}.svg"
                path.write_text(svg.render(picture), encoding="utf-8")
        artifact.publish(built, directory, force=force, proof=HTML)
    return Report(directory / HTML, directory / MARKDOWN, made)


def read(results: Sequence[Path]) -> Collection:
    """The measurements of files and folders. Raises InputError for what is missing, damaged or empty."""
    named = [entry for path in results if not path.is_dir() for entry in _entries(path)]
    folders = [entry for path in results if path.is_dir() for file in _inside(path) for entry in _entries(file)]
    collection = collect(named, folders)
    if not collection.shown:
        raise InputError(
            f"there are no measurements in {listed([str(path) for path in results])}",
            cause="the lists in them are empty",
            next_step="give what `edgekit profile --output` wrote",
        )
    return collection


def _entries(path: Path) -> Iterator[Entry]:
    for measurement in results_files.read(path):
        yield Entry(measurement, path)


def _inside(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.json"))
    if not found:
        raise InputError(
            f"{folder} holds no results",
            cause="there is no .json file in it",
            next_step="give a folder of files that `edgekit profile --output` wrote",
        )
    return found


def _title(collection: Collection) -> str:
    models = list(dict.fromkeys(entry.measurement.model.name for entry in collection.shown))
    return f"Measurements of {listed(models, 4)}"
