"""What the commands print: rich tables for people, JSON for programs. Base units become readable ones here and only here."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from edgekit.errors import EdgekitError
from edgekit.quiet import stdout_kept_clean

if TYPE_CHECKING:
    from edgekit.ablation import Ablation
    from edgekit.artifact import Artifact, Parity, ParityRecord, PassRecord
    from edgekit.bisection import Bisection
    from edgekit.devices import Connected
    from edgekit.doctor import Finding
    from edgekit.evaluation.accuracy import Accuracy
    from edgekit.gate import Report as Verdicts
    from edgekit.inspection import Report as Inspection
    from edgekit.models import Variant
    from edgekit.prediction import Prediction
    from edgekit.profiles import DeviceProfile
    from edgekit.profiling import Measurement
    from edgekit.profiling.comparison import Comparison
    from edgekit.report import Report

_WIDE = 200
_MODULE_DEPTH = 2
"""Of the names under which a table of modules sums them up."""


def _console(*, error: bool = False) -> Console:
    stream = sys.stderr if error else sys.stdout
    # Without a terminal rich would wrap tables at 80 columns, which breaks them for grep.
    return Console(file=stream, width=None if stream.isatty() else _WIDE, highlight=False, soft_wrap=True)


def show_json(value: Any) -> None:
    """Print `value` as JSON."""
    print(json.dumps(value, indent=1))


def show_error(error: EdgekitError, *, as_json: bool) -> None:
    """Print what happened, why, and what to do next."""
    if as_json:
        show_json(error.as_dict())
        return
    console = _console(error=True)
    console.print("error:", style="bold red", end=" ")
    console.print(str(error), markup=False)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table; the columns in `right` are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def note(text: str) -> None:
    """Print a line beside the data."""
    _console().print(text, markup=False)


@contextlib.contextmanager
def progress(title: str, *, silent: bool) -> Iterator[Callable[[str], None]]:
    """A spinner that names the stage under way; nothing when `silent` or not on a terminal. Whatever is printed meanwhile
    goes to standard error."""
    console = _console(error=True)
    with stdout_kept_clean():
        if silent or not console.is_terminal:
            yield lambda stage: None
            return
        with console.status(title) as status:
            yield lambda stage: status.update(f"{title}: {stage}")


@contextlib.contextmanager
def progress_bar(title: str, *, silent: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told how many of how many are done, with the time left; nothing when `silent` or not on a terminal.
    Whatever is printed meanwhile goes to standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = _console(error=True)
    with stdout_kept_clean():
        if silent or not console.is_terminal:
            yield lambda done, total: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def show_models(variants: Sequence[Variant]) -> None:
    rows = [
        (
            v.name,
            f"{v.input_shape[-1]}",
            f"{v.published_params / 1e6:.1f} M",
            "-" if v.published_macs is None else f"{v.published_macs / 1e9:.1f} G",
            f"{v.published_top1:.1f} %",
            v.source,
        )
        for v in variants
    ]
    show_table(("model", "input", "parameters", "MACs", "top-1", "published in"), rows, right=(1, 2, 3, 4))


def show_devices(devices: Sequence[DeviceProfile], connected: Sequence[Connected]) -> None:
    rows = [
        (
            f"host ({d.file})" if d.transport else d.name,
            ", ".join(sorted(d.runtimes)),
            d.description,
        )
        for d in devices
    ]
    show_table(("profile", "targets", "what it is"), rows)
    note("")
    found = [(c.name, "yes" if c.usable else "no", c.what, c.next_step) for c in connected]
    show_table(("connected", "usable", "what it is", "to use it"), found)


def show_findings(findings: Sequence[Finding]) -> None:
    marks = {True: "yes", False: "no", None: ""}
    rows = [(f.what, marks[f.works], f.detail, f.next_step) for f in findings]
    show_table(("what", "works", "detail", "to get it"), rows)


def show_predictions(predictions: Sequence[Prediction], *, real: bool) -> None:
    rows = [(f"{p.probability:.1%}", str(p.index), p.label) for p in predictions]
    show_table(("probability", "class", "label"), rows, right=(0, 1))
    if not real:
        note(SEEDED_NOTE)


SEEDED_NOTE = "Weights were initialised deterministically (no --weights): latencies are real, predictions are not."


def show_artifacts(artifacts: Sequence[Artifact]) -> None:
    from edgekit.runtimes import REFERENCE

    rows = []
    for made in artifacts:
        manifest = made.manifest
        seconds = "cached" if made.from_cache else f"{sum(manifest.stages_s.values()):.1f} s"
        rows.append(
            (
                str(made.directory),
                manifest.target,
                manifest.precision if manifest.quantization is None else manifest.quantization.scheme,
                f"{made.size_bytes / 1e6:.1f} MB",
                _parity_cell(manifest.parity.conversion),
                _parity_cell(manifest.parity.precision),
                seconds,
            )
        )
    columns = ("artifact", "target", "precision", "size", "conversion SQNR", "precision SQNR", "made in")
    show_table(columns, rows, right=(3, 4, 5, 6))
    for reason in dict.fromkeys(m.manifest.parity.conversion.reason for m in artifacts if m.manifest.parity.conversion.reason):
        note(f"Parity not measured: {reason}.")
    for asked in dict.fromkeys(m.manifest.recipe.approximations for m in artifacts if m.manifest.recipe.approximations):
        note(f"Computed approximately, as asked: {', '.join(asked)}.")
    for made in artifacts:
        precision = made.manifest.parity.precision
        if precision.passed is False:
            reduced = made.manifest.quantization
            note(
                f"Warning: {reduced.scheme if reduced else made.manifest.precision} is not enough for "
                f"{made.manifest.model.name} with these weights: {precision.sqnr_db:.1f} dB, {precision.bound_sqnr_db:.0f} dB "
                f"wanted; {precision.reason}. Try {made.manifest.more_precise}."
            )
    for made in artifacts:
        if made.manifest.quantization is not None:
            note(made.manifest.quantization.told_speed)
    if any(REFERENCE in (made.manifest.parity.runtime or "") for made in artifacts):
        note("Core ML artifacts were executed by edgekit's reference interpreter, not by Core ML itself.")
    if any(made.manifest.model.weights == "seeded" for made in artifacts):
        note(SEEDED_NOTE)


def _parity_cell(parity: Parity) -> str:
    return "not run here" if parity.sqnr_db is None else f"{parity.sqnr_db:.1f} dB"


def show_measurements(measurements: Sequence[Measurement]) -> None:
    from edgekit.profiling import table

    rows = table.rows(measurements)
    show_table(list(rows[0]), [list(row.values()) for row in rows], right=range(2, len(rows[0])))
    first = measurements[0].fingerprint
    threads = "its own threads" if first.threads is None else f"{first.threads} thread{'s' if first.threads > 1 else ''}"
    note(f"{first.hardware or first.cpu or first.os}; {threads}; inputs: {measurements[0].conditions.inputs}")
    said = [f"{table.subject(one)}: {warning}" for one in measurements for warning in table.warnings(one)]
    for line in dict.fromkeys(said):  # one subject may have been measured on several compute units
        note(line)
    for measurement in measurements:
        if measurement.operators is not None:
            show_operators(measurement)


def show_operators(measurement: Measurement) -> None:
    """Where the time of a run goes, by operator and by module."""
    from edgekit.profiling import table
    from edgekit.profiling.operators import table as cells

    assert measurement.operators is not None
    note(f"\n{table.subject(measurement)}")
    for rows in (cells.rows(measurement.operators, "operator"), cells.rows(measurement.operators, "module", _MODULE_DEPTH)):
        if rows:
            show_table(list(rows[0]), [list(row.values()) for row in rows], right=range(1, len(rows[0])))
            note("")
    for line in cells.notes(measurement.operators, measurement.p50_s.value):
        note(line)


def show_comparisons(comparisons: Sequence[Comparison]) -> None:
    for one in comparisons:
        note(f"{one.subject} against {one.reference}: {one.verdict}")


_LAYERS = 12
"""The most sensitive, shown of each artifact; the report has all."""


def show_evaluation(accuracies: Sequence[Accuracy], notes: Sequence[str] = ()) -> None:
    """The table, what can be said of each beside its reference, and what must be known of them."""
    from edgekit.evaluation import table

    rows = table.rows(accuracies)
    show_table(list(rows[0]), [list(row.values()) for row in rows], right=range(2, len(rows[0])))
    data = accuracies[0].data
    note(f"{data.images:,} of {data.of:,} samples of {data.name}; brackets hold 95 % intervals")
    for line in (*table.sentences(accuracies), *notes):
        note(line)
    for one in accuracies:
        if found := table.confusions(one):
            note(f"{one.subject}, confusions that changed most: {'; '.join(found)}")
    for one in accuracies:
        if one.sensitivity is not None:
            note(f"\n{one.subject}: {table.sensitivity(one.sensitivity)}")
            layers = table.layers(one.sensitivity)[:_LAYERS]
            show_table(list(layers[0]), [list(row.values()) for row in layers], right=range(2, 8))


def show_report(written: Report) -> None:
    """The summary, and where all of it is."""
    for sentence in written.sections[0].sentences:
        note(sentence)
    note(f"{written.html}, and as Markdown {written.markdown}")


def show_passes(made: Artifact, ablations: Sequence[Ablation]) -> None:
    """What each pass did, what it is worth where that was measured, and each reason for a refusal with its count."""
    worth = {ablation.without: ablation for ablation in ablations}
    rows = [
        [_name(record), str(record.changed), str(len(record.refusals)), *(_worth(worth.get(record.name)) if ablations else ())]
        for record in made.manifest.passes
    ]
    note(f"\n{made.directory}: {made.manifest.model.operators} operators after the passes")
    columns = ["pass", "changed", "refused", *(("latency without it", "operators without it") if ablations else ())]
    show_table(columns, rows, right=range(1, len(columns)))
    for record in made.manifest.passes:
        reasons: dict[str, list[str]] = {}
        for refusal in record.refusals:
            reasons.setdefault(refusal.reason, []).append(refusal.node)
        for reason, nodes in reasons.items():
            note(f"{record.name} left {nodes[0]}{f' and {len(nodes) - 1} more' if len(nodes) > 1 else ''}: {reason}")


def _name(record: PassRecord) -> str:
    return f"{record.name} (approximate)" if record.approximate else record.name


def _worth(ablation: Ablation | None) -> tuple[str, str]:
    if ablation is None:
        return "-", "-"
    ratio = ablation.latency_ratio
    if ratio is None:
        return ablation.reason, "-"
    interval = "" if ratio.low is None else f" [{ratio.low:.3f}, {ratio.high:.3f}]"
    return f"{ratio.value:.3f}{interval}", str(ablation.operators)


def show_inspection(report: Inspection) -> None:
    """What the artifact consists of, and what the linter says."""
    from edgekit.inspection import table

    show_table(("", report.subject), table.summary(report))
    note("")
    show_table(table.WEIGHT_COLUMNS, table.weights(report), right=(3, 4))
    for line in table.elsewhere(report):
        note(line)
    if report.findings is None:
        return
    note("")
    if report.findings:
        show_table(table.FINDING_COLUMNS, table.findings(report), right=(2,))
        for line in table.advice(report):
            note(line)
    else:
        note("The linter found nothing.")
    note(table.HEURISTIC)


def show_parity(record: ParityRecord) -> None:
    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    rows = [
        (
            question,
            cell(answer.sqnr_db, ".1f"),
            f"{answer.bound_sqnr_db:.0f}",
            cell(answer.max_error_over_spread, ".1e"),
            cell(answer.cosine, ".9f"),
            cell(answer.top1_agreement, ".0%"),
            {True: "pass", False: "FAIL", None: "not asked"}[answer.passed],
        )
        for question, answer in (("conversion is right", record.conversion), ("precision is enough", record.precision))
    ]
    columns = ("question", "SQNR dB", "bound", "max error/spread", "cosine", "top-1", "verdict")
    show_table(columns, rows, right=(1, 2, 3, 4, 5))
    note(f"{record.runtime} against {record.reference}")
    if record.stand_in_sqnr_db is not None:
        note(f"The reference interpreter, which stands in for it elsewhere, is {record.stand_in_sqnr_db:.1f} dB from it.")
    for question, answer in (("conversion", record.conversion), ("precision", record.precision)):
        if answer.reason:
            note(f"{question}: {answer.reason}")


def show_verdicts(report: Verdicts, measured: Sequence[Measurement]) -> None:
    """Every budget beside what was found, what was `measured` for it, and what was left unjudged."""
    from rich.markup import escape

    from edgekit.gate import wording

    colours = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "yellow"}
    rows = []
    for verdict in report.verdicts:
        cells = {column: escape(cell) for column, cell in zip(wording.COLUMNS, wording.row(verdict), strict=True)}
        colour = colours[verdict.outcome]
        rows.append(list((cells | {"verdict": f"[{colour}]{verdict.outcome}[/{colour}]"}).values()))
    show_table(wording.COLUMNS, rows, right=(3,))
    for one in measured:
        note(f"{one.subject} on {one.fingerprint.device}: {one.runs} runs in {len(one.processes)} processes")
    note(f"{report.outcome}: {wording.counts(report)}")
    if said := wording.unjudged(report):
        note(said)


def show_bisection(found: Bisection) -> None:
    """Where each question's answer turns, as a table and the lines of source."""

    def span(limits: tuple[float, float] | None) -> str:
        return "-" if limits is None else f"{limits[0]:.3g} to {limits[1]:.3g}"

    rows, notes = [], []
    for question, answer in (("conversion", found.conversion), ("precision", found.precision)):
        shown = answer.culprit or answer.weakest
        if shown is None:
            continue
        rows.append(
            (
                f"{question} departs at" if answer.culprit else f"{question} holds; weakest",
                shown.operator,
                shown.name,
                "-" if shown.module is None else shown.module or "the model's forward",
                f"{shown.sqnr_db:.1f}",
                span(shown.expected_range),
                span(shown.found_range),
                *(str(count) for count in (shown.overflowed, shown.underflowed, shown.nan, shown.inf)),
            )
        )
        if answer.culprit and shown.between:
            notes.append(f"{question}: or one of what coremltools put before it: {', '.join(shown.between)}")
        if answer.culprit and shown.line:
            notes.append(f"{question}: {shown.operation} at {shown.line}")
    columns = ("", "operator", "name", "module", "SQNR dB", "expected", "found", "overflow", "underflow", "NaN", "Inf")
    show_table(columns, rows, right=range(4, len(columns)))
    for text in notes:
        note(text)
    note(f"{found.compared} of {found.operators} operators compared with PyTorch's values")
