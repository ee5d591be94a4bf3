"""Reports: what was measured and evaluated, as one HTML file that needs nothing else, and as Markdown with its figures.

::

    write([Path("results.json")], Path("report"))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import publishing, scratch
from edgekit.errors import InputError
from edgekit.evaluation import results as evaluation_files
from edgekit.profiling import results as results_files
from edgekit.report import html, markdown, sections, style, svg
from edgekit.report.collection import Collection, collect
from edgekit.report.content import Section
from edgekit.report.entry import Entry, Evaluated
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
    publishing.check_output(directory, force=force, proof=HTML)
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
        publishing.publish(built, directory, force=force, proof=HTML)
    return Report(directory / HTML, directory / MARKDOWN, made)


def read(results: Sequence[Path]) -> Collection:
    """The measurements and evaluations of files and folders. Raises InputError for what is missing, damaged or empty."""
    named = [one for path in results if not path.is_dir() for one in _entries(path)]
    folders = [one for path in results if path.is_dir() for file in _inside(path) for one in _entries(file)]
    return collect(
        [one for one in named if isinstance(one, Entry)],
        [one for one in folders if isinstance(one, Entry)],
        [one for one in (*folders, *named) if isinstance(one, Evaluated)],
    )


def _entries(path: Path) -> list[Entry] | list[Evaluated]:
    accuracies = evaluation_files.read(path)
    if accuracies is not None:
        return [Evaluated(accuracy, path) for accuracy in accuracies]
    return [Entry(measurement, path) for measurement in results_files.read(path)]


def _inside(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.json"))
    if not found:
        raise InputError(
            f"{folder} holds no results",
            cause="there is no .json file in it",
            next_step="give a folder of files that `edgekit profile --output` or `edgekit evaluate --output` wrote",
        )
    return found


def _title(collection: Collection) -> str:
    measured = [entry.measurement.model.name for entry in collection.shown]
    models = list(dict.fromkeys([*measured, *(one.accuracy.model.name for one in collection.evaluated)]))
    return f"{'Measurements' if measured else 'Accuracy'} of {listed(models, 4)}"
