"""What results say: against budgets, and to people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.commands import Json


def report(
    results: Annotated[
        list[Path], typer.Argument(help="Files that `edgekit profile --output` wrote; a folder of past ones gives the trend.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a report that is already there.")] = False,
    json: Json = False,
) -> None:
    """Write what was measured as one HTML file that needs no network, and as Markdown with its figures beside it."""
    from edgekit import console
    from edgekit import report as reports

    with console.progress("writing the report", silent=json):
        written = reports.write(results, output, force=force)
    if json:
        console.show_json(written.as_dict())
    else:
        console.show_report(written)


COMMANDS = (report,)
