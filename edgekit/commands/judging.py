"""What results say: against budgets, and to people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.commands import Json
from edgekit.errors import Interrupted, OutputError, UsageError

if TYPE_CHECKING:
    from edgekit.gate import Report
    from edgekit.profiling.measurement import Measurement


def gate(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULT...", help="Results files, artifacts, or folders of them; with --collect, what to measure."
        ),
    ],
    budget: Annotated[Path, typer.Option(help="The YAML file with what each model may cost.")],
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Results that relative limits are held to; repeatable. With --collect, artifacts too."),
    ] = None,
    collect: Annotated[bool, typer.Option("--collect", help="Measure until every limit is decided, or until the cap.")] = False,
    cap_s: Annotated[float, typer.Option(help="Seconds to measure each at most, with --collect.")] = 60.0,
    device: Annotated[
        str | None, typer.Option(help="Where to measure, with --collect.", show_default="the budgets' device, or host")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="With --collect: also write the measurements here.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write the verdicts as JUnit XML here.")] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Also write them as Markdown here; $GITHUB_STEP_SUMMARY is added to.")
    ] = None,
    annotations: Annotated[bool, typer.Option("--annotations", help="Also print them as GitHub's annotations.")] = False,
    json: Json = False,
) -> None:
    """Judge results by budgets: PASS (exit code 0), FAIL (1) or INCONCLUSIVE (3)."""
    from edgekit import console, gate
    from edgekit.gate import junit as junit_xml
    from edgekit.gate import summary as summaries

    if json and annotations:
        raise UsageError("--json and --annotations both want standard output", next_step="give one of them")
    measured: list[Measurement] = []
    if collect:
        report, measured = _collected(budget, given, device, baseline, cap_s, output, json)
    else:
        _only_with_collect(device=device, output=output)
        report = gate.gate(budget, given, baseline=baseline or ())
    if junit is not None:
        _write(junit, junit_xml.document(report), "--junit")
    if summary is not None:
        _write(summary, summaries.markdown(report), "--summary", add=summaries.is_step_summary(summary))
    if json:
        console.show_json(report.as_dict())
    else:
        console.show_verdicts(report, measured)
    if annotations:
        for line in summaries.workflow_commands(report, budget):
            print(line)
    raise typer.Exit(report.exit_code)


def _collected(
    budget: Path,
    subjects: list[str],
    device: str | None,
    baseline: list[str] | None,
    cap_s: float,
    output: Path | None,
    json: bool,
) -> tuple[Report, list[Measurement]]:
    """The verdicts on what is measured now, and the measurements, which are also written to `output`."""
    from edgekit import console, gate
    from edgekit.profiling import results

    try:
        with console.progress("collecting", silent=json) as announce:
            report, measurements = gate.gate_by_measuring(
                budget, subjects, device=device, baseline=baseline or (), cap_s=cap_s, announce=announce
            )
    except Interrupted as error:
        error.next_step = f"{error.next_step}; what was measured until then is in {results.keep(error.partial, output)}"
        raise
    if output is not None:
        results.write(output, measurements)
    return report, measurements


def _only_with_collect(**options: object) -> None:
    for name, given in options.items():
        if given is not None:
            raise UsageError(f"--{name} is of use with --collect alone", next_step="add --collect, or leave it out")


def _write(path: Path, text: str, option: str, *, add: bool = False) -> None:
    """Write a file, or add to it. Raises OutputError where that fails."""
    try:
        with path.open("a" if add else "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"cannot write {path}", cause=error.strerror or str(error), next_step=f"check {option}") from error


def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="What `edgekit profile --output` and `evaluate --output` wrote; a folder of past ones gives the trend."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a report that is already there.")] = False,
    json: Json = False,
) -> None:
    """Write what was measured and evaluated as one HTML file that needs no network, and as Markdown with its figures."""
    from edgekit import console
    from edgekit import report as reports

    with console.progress("writing the report", silent=json):
        written = reports.write(results, output, force=force)
    if json:
        console.show_json(written.as_dict())
    else:
        console.show_report(written)


COMMANDS = (gate, report)
