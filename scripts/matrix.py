"""Every model on every target, in every precision of it: parity, size, export time, and what stays outside the accelerated
part; and Core ML's conversion under the weights of the golden vectors."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import edgekit
from edgekit import isolation, models, targets
from edgekit.artifact import Parity, ParityRecord
from edgekit.errors import EdgekitError
from edgekit.inspection import Report, table
from edgekit.profiling import machine

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden.py"
REPORT = ROOT / "reports" / "matrix.md"
README = ROOT / "README.md"
MARKS = "<!-- support: written by scripts/matrix -->", "<!-- /support -->"
TITLES = {"onnx": "ONNX", "executorch": "ExecuTorch", "coreml": "Core ML"}
COLUMNS = ("model", "target", "precision", "conversion SQNR", "precision SQNR", "size", "made in", "operators")
GOLDEN_COLUMNS = ("model", "precision", "BatchNorm statistics", "conversion SQNR", "precision SQNR")


@dataclass(frozen=True)
class Cell:
    """A model on a target: what came out, or why nothing did."""

    model: str
    target: str
    precision: str
    parity: ParityRecord | None = None
    size_bytes: int = 0
    made_in_s: float = 0.0
    operators: str = "-"
    failure: str = ""
    statistics: str = ""
    """Under the golden weights, where those of BatchNorm are from; empty under edgekit's own deterministic weights."""

    @property
    def row(self) -> str:
        """Its line of the report."""
        answers = [f"**{self.failure}**", "-"]
        if self.parity is not None:
            answers = [_answer(self.parity.conversion), _answer(self.parity.precision)]
        if self.statistics:
            return _line(self.model, self.precision, self.statistics, *answers)
        made = ["-"] * 3
        if self.parity is not None:
            made = [f"{self.size_bytes / 1e6:.1f} MB", f"{self.made_in_s:.0f} s", self.operators]
        return _line(self.model, self.target, self.precision, *answers, *made)


def _answer(parity: Parity) -> str:
    if parity.sqnr_db is None:
        return f"not run: {parity.reason}"
    short = f", too little: {parity.reason}" if parity.passed is False else ""
    return _plain(f"{parity.sqnr_db:.1f} dB{short}")


def _plain(text: str) -> str:
    """Text that a cell of a table can hold."""
    return " ".join(text.split()).replace("|", "/")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def support(cells: Sequence[Cell]) -> str:
    """What the support table says of a model on a target: the figure of the graph computed in fp32 throughout, and what
    computing in less leaves."""
    made = {one.precision: one.parity for one in cells if one.parity is not None}
    if len(made) < len(cells):
        return "fails"
    conversion = made.get("fp32", next(iter(made.values()))).conversion.sqnr_db
    if conversion is None:
        return "converts, not run here"
    reduced = [
        f"{precision} {record.precision.sqnr_db:.0f} dB{'' if record.precision.passed else ' (too little)'}"
        for precision, record in made.items()
        if precision != "fp32" and record.precision.sqnr_db is not None
    ]
    return ", ".join([f"{conversion:.0f} dB", *reduced])


def main(chosen: Sequence[str]) -> int:
    """Make every cell, as many at once as there are cores, and print each; 1 when one failed. The report and the README's
    table are written when that was every model there is."""
    os.environ["OMP_NUM_THREADS"] = "1"  # a core a cell
    started, at_once = time.monotonic(), machine.usable_cores()
    wanted = [request for model in chosen or models.all_variants() for request in requests(model)]
    wanted.sort(key=lambda request: request[-1])  # those under the golden weights are the second table
    cells: list[Cell] = []
    with ThreadPoolExecutor(at_once) as pool:
        for made in pool.map(lambda request: cell(*request), wanted):
            columns = GOLDEN_COLUMNS if made.statistics else COLUMNS
            if not cells or bool(made.statistics) != bool(cells[-1].statistics):
                print("\n".join(header(columns)))
            cells.append(made)
            print(made.row, flush=True)
    took = f"{len(cells)} cells in {(time.monotonic() - started) / 60:.1f} min, {at_once} at once"
    print(took)
    if not chosen:
        assert set(TITLES) == set(targets.names())
        REPORT.write_text(report(cells, took), encoding="utf-8")
        README.write_text(with_support(README.read_text(encoding="utf-8"), cells), encoding="utf-8")
    return 1 if any(one.failure for one in cells) else 0


def requests(model: str) -> Iterator[tuple[str, str, str, bool]]:
    """Model, target, precision and whether under the golden weights, of each of a model's cells."""
    for target in TITLES:
        for precision in targets.find(target).PRECISIONS:
            yield model, target, precision, False
    if "coreml" in TITLES and model in models.all_variants():
        for precision in targets.find("coreml").PRECISIONS:
            yield model, "coreml", precision, True


def cell(model: str, target: str, precision: str, golden: bool = False) -> Cell:
    """One cell, made in a process of its own: its memory ends with it, and so does whatever it breaks."""
    statistics, weights = "", None
    with isolation.Worker() as worker:
        try:
            if golden:
                statistics, weights = worker.call(f"{GOLDEN}:checkpoint", model, stage=f"filling {model} by the golden rule")
            stage = f"exporting {model} to {target} in {precision}"
            made = worker.call(f"{__file__}:export", model, target, precision, weights, stage=stage)
        except EdgekitError as error:
            failure = _plain(f"{error.what}: {error.cause}")
            return Cell(model, target, precision, failure=failure, statistics=statistics or ("-" if golden else ""))
    return replace(Cell(model, target, precision, *made), statistics=statistics)


def export(model: str, target: str, precision: str, weights: Path | None) -> tuple[ParityRecord, int, float, str]:
    """The fields of a `Cell` from its parity on, as far as an export that succeeds gives them."""
    with tempfile.TemporaryDirectory() as folder:
        made = edgekit.export(model, target, precision=precision, weights=weights, output=folder)
        operators = outside(edgekit.inspect(made.directory), precision)
        return made.manifest.parity, made.size_bytes, sum(made.manifest.stages_s.values()), operators


def outside(report: Report, precision: str) -> str:
    """How many operators there are, and which stay outside the accelerated part."""
    total = sum(report.operators.values())
    if report.delegation is not None:
        delegates = sum(report.delegation.delegates.values())
        return f"{delegates} delegate{'s' if delegates != 1 else ''}; outside: {table.counts(report.delegation.outside)}"
    if report.findings is None:
        return f"{total}, all on the CPU"
    off = "all, in fp32" if precision == "fp32" else table.counts(report.may_leave)
    return f"{total}, rank {report.largest_rank} at most; may leave the Neural Engine: {off}"


def header(columns: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [_line(*columns), "|---" * len(columns) + "|"]


def report(cells: Sequence[Cell], took: str) -> str:
    """The report in Markdown."""
    own, golden = _apart(cells)
    failed = sum(bool(one.failure) for one in cells)
    return "\n".join(
        [
            "# Models on targets\n",
            f"Made by `scripts/matrix`: {took}, {len(cells) - failed} made, {failed} failed. SQNR is against PyTorch eager in "
            "fp32, worst of four inputs, deterministic weights: the graph in fp32 (conversion), and as declared (precision; "
            "what is too little names the operation that first lost it). `made in` is the time of the export without the "
            "cache, under the load of the other cells.\n",
            *header(COLUMNS),
            *(one.row for one in own),
            "\n## Core ML under the golden weights\n",
            "The same with the weights of `tests/golden`: the seeded rule for every variant, and the BatchNorm "
            "statistics of the golden vectors; for variants that have none, those of a few seeded images in training mode.\n",
            *header(GOLDEN_COLUMNS),
            *(one.row for one in golden),
            "",
        ]
    )


def _apart(cells: Sequence[Cell]) -> tuple[list[Cell], list[Cell]]:
    """The cells under edgekit's own deterministic weights, and those under the golden ones."""
    return [one for one in cells if not one.statistics], [one for one in cells if one.statistics]


def with_support(readme: str, cells: Sequence[Cell]) -> str:
    """The README with its support table made anew. Raises ValueError when it has no place for one."""
    begin, end = MARKS
    before, marked, rest = readme.partition(begin)
    _, closed, after = rest.partition(end)
    if not marked or not closed:
        raise ValueError(f"the README holds no {begin} ... {end}")
    own, _ = _apart(cells)
    by_model = {
        model: [support([one for one in own if (one.model, one.target) == (model, target)]) for target in TITLES]
        for model in dict.fromkeys(one.model for one in own)
    }
    rows = [_line(f"`{model}`", *said) for model, said in by_model.items()]
    return before + "\n".join([begin, *header(["model", *TITLES.values()]), *rows, end]) + after


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
