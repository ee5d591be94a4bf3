"""What quantization does to trained models: size, latency and accuracy of every scheme on every target, in one table."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import edgekit
from edgekit import profiles, targets
from edgekit.artifact import Artifact
from edgekit.errors import EdgekitError
from edgekit.evaluation.accuracy import Accuracy
from edgekit.profiling import ratio
from edgekit.profiling.measurement import Estimate

REPORT = Path(__file__).parent.parent / "reports" / "quantization.md"
SCHEMES = ("int8", "int8-dynamic", "int8-weight", "int4-weight", "fp16", "palettize-6", "palettize-4")
TITLES = {"onnx": "ONNX", "executorch": "ExecuTorch", "coreml": "Core ML"}
LIMITS = {"coreml": 0.1}
"""Share of the images for a target whose artifacts the reference interpreter executes: it takes a hundred times as long."""
COLUMNS = ("model", "target", "scheme", "size", "of the original's", "faster by", "top-1", "points lost", "agreement", "SQNR")


@dataclass(frozen=True)
class Cell:
    """A model on a target in a scheme: what came out, or why nothing did."""

    model: str
    target: str
    scheme: str
    """Empty for the original."""
    size_bytes: int = 0
    faster: tuple[float, float | None, float | None] | None = None
    """The original's median latency over this one's, and its interval; None where the target does not run here."""
    top1: tuple[float, float | None, float | None] | None = None
    lost: tuple[float, float | None, float | None] | None = None
    agreement: float | None = None
    sqnr_db: float | None = None
    images: int = 0
    failure: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing, and write the report; 1 when a cell failed for another reason than that nothing carries it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path, help="a folder with MODEL/weights.pth")
    parser.add_argument(
        "--data", type=Path, required=True, help="labelled images: its train split calibrates, its test split judges"
    )
    parser.add_argument("--limit", type=int, default=10_000, help="images to judge by")
    parser.add_argument("--only", nargs="+", default=[], help="models to make now")
    asked = parser.parse_args(arguments)
    kept = asked.checkpoints / "quantization.jsonl"
    cells = [Cell(**_tuples(json.loads(line))) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(cell.model, cell.target) for cell in cells}
    for weights in sorted(asked.checkpoints.glob("*/weights.pth")):
        model = weights.parent.name
        if asked.only and model not in asked.only:
            continue
        for target in targets.names():
            if (model, target) in done:
                continue
            made = list(measured(model, target, weights, asked.data, asked.limit, asked.checkpoints / "artifacts"))
            with kept.open("a", encoding="utf-8") as lines:
                lines.writelines(json.dumps(asdict(cell)) + "\n" for cell in made)
            cells += made
            print("\n".join(row(cell, made[0]) for cell in made), flush=True)
    command = shlex.join(["scripts/quantization", *(arguments or sys.argv[1:])])
    REPORT.write_text(report(cells, command), encoding="utf-8")
    return 0


def measured(model: str, target: str, weights: Path, data: Path, limit: int, output: Path) -> Iterator[Cell]:
    """The original and every scheme of one model on one target, on the same images and in one job."""
    artifacts: dict[str, Artifact] = {}
    failures: dict[str, str] = {}
    for scheme in ("", *SCHEMES):
        options: dict[str, Any] = {"weights": weights, "output": output, "force": True}
        if scheme:
            options["quantize"] = {"scheme": scheme, "calibration": data}
        try:
            artifacts[scheme] = edgekit.export(model, target, **options)
        except EdgekitError as error:
            failures[scheme] = f"{error.what}: {error.cause}" if error.cause else error.what
    paths = {scheme: made.directory for scheme, made in artifacts.items()}
    images = max(1, round(limit * LIMITS.get(target, 1.0)))
    judged = edgekit.evaluate(list(paths.values()), data, limit=images).accuracies
    by_subject = {one.subject: one for one in judged}
    faster = latencies(paths) if artifacts[""].manifest.device["transport"] == profiles.HOST else {}
    for scheme in ("", *SCHEMES):
        cell = Cell(model, target, scheme, images=images)
        if scheme in failures:
            yield replace(cell, failure=" ".join(failures[scheme].split()))
        else:
            made = replace(cell, size_bytes=artifacts[scheme].size_bytes, faster=faster.get(scheme))
            yield _judged(made, by_subject[str(paths[scheme])])


def latencies(paths: dict[str, Path]) -> dict[str, tuple[float, float | None, float | None]]:
    """How much faster each is than the original, all measured interleaved."""
    original, *others = edgekit.profile(list(paths.values()))
    return {scheme: _plain(ratio(original, other)) for scheme, other in zip(list(paths)[1:], others, strict=True)}


def _judged(cell: Cell, accuracy: Accuracy) -> Cell:
    against, top1 = accuracy.against, accuracy.top1_percent
    found = replace(cell, top1=_plain(top1) if top1 else None, images=accuracy.data.images)
    if against is None:
        return found
    drop, sqnr = against.accuracy_drop_points, against.sqnr_db
    return replace(
        found,
        lost=_plain(drop) if drop else None,
        agreement=against.agreement_percent.value,
        sqnr_db=sqnr.value if sqnr else None,
    )


def _plain(estimate: Estimate) -> tuple[float, float | None, float | None]:
    return estimate.value, estimate.low, estimate.high


def _tuples(record: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}


def report(cells: Sequence[Cell], command: str) -> str:
    """The whole report."""
    originals = {(cell.model, cell.target): cell for cell in cells if not cell.scheme}
    lines = [
        "# What quantization costs and gains",
        "",
        f"Made by `{command}` on checkpoints of `scripts/train_classifier`, which know their input size.",
        "Calibrated on the train split, judged on the test split; points lost against the fp32 model in PyTorch, image by",
        "image. Brackets hold 95 % intervals. Latencies of one model on one target were measured interleaved, on one pinned",
        "core. Core ML artifacts were executed by edgekit's reference interpreter, on a tenth of the images, and not timed.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join(['---'] * 3 + ['---:'] * (len(COLUMNS) - 3))} |",
        *(row(cell, originals[cell.model, cell.target]) for cell in cells),
        "",
    ]
    return "\n".join(lines)


def row(cell: Cell, original: Cell) -> str:
    """A cell's line of the table."""
    start = [cell.model, TITLES[cell.target], cell.scheme or "-"]
    if cell.failure:
        return f"| {' | '.join([*start, cell.failure.replace('|', '/'), *['-'] * (len(COLUMNS) - 4)])} |"
    share = f"{cell.size_bytes / original.size_bytes:.2f}" if cell.scheme else "1"
    shown = [
        f"{cell.size_bytes / 1e6:.2f} MB",
        share,
        _interval(cell.faster, 2, "x"),
        _interval(cell.top1, 1, " %"),
        _interval(cell.lost, 2, ""),
        "-" if cell.agreement is None else f"{cell.agreement:.1f} %",
        "-" if cell.sqnr_db is None else f"{cell.sqnr_db:.1f} dB",
    ]
    return f"| {' | '.join([*start, *shown])} |"


def _interval(estimate: tuple[float, float | None, float | None] | None, digits: int, unit: str) -> str:
    if estimate is None:
        return "-"
    value, low, high = estimate
    ends = "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{unit}{ends}"


if __name__ == "__main__":
    sys.exit(main())
