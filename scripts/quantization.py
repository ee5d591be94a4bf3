"""What quantization does to trained models: size, latency and accuracy of every scheme on every target, in one table."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from training.kept import LOG

import edgekit
from edgekit import profiles
from edgekit.artifact import Artifact
from edgekit.errors import EdgekitError
from edgekit.evaluation.accuracy import Accuracy
from edgekit.profiling import ratio
from edgekit.profiling.measurement import Estimate

REPORT = Path(__file__).parent.parent / "reports" / "quantization.md"
KEPT = REPORT.with_suffix(".jsonl")
"""A line a cell."""
SCHEMES: dict[str, dict[str, Any]] = {
    **{scheme: {"scheme": scheme} for scheme in ("int8", "int8-dynamic", "int8-weight", "int4-weight", "fp16")},
    **{scheme: {"scheme": scheme} for scheme in ("palettize-6", "palettize-4")},
    "mixed, 25 dB": {"scheme": "mixed", "least_sqnr_db": 25.0},
}
TITLES = {"onnx": "ONNX", "executorch": "ExecuTorch", "coreml": "Core ML"}
DEVICES = {("coreml", "int4-weight"): "iphone-16-pro"}
"""Where a target's own device cannot: weights of four bits take iOS 18."""
SHARES = {"executorch": 0.2, "coreml": 0.02}
"""Share of the images to judge another target than ONNX by: Core ML's reference interpreter takes a hundred times as long."""
MOST_LOST = {"int8": 0.5, "int4-weight": 1.0}
"""Points of top-1 accuracy that a scheme may cost."""
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
    checkpoint: str = ""
    """How the weights were made, and what they are worth."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing or asked for, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path, help="a folder with MODEL/weights.pth")
    parser.add_argument(
        "--data", type=Path, required=True, help="labelled images: its train split calibrates, its test split judges"
    )
    parser.add_argument("--limit", type=int, default=10_000, help="images to judge by")
    parser.add_argument("--only", nargs="+", default=[], help="MODEL[:TARGET[:SCHEME]] to make now, even if made before")
    asked = parser.parse_args(arguments)
    models = sorted(weights.parent.name for weights in asked.checkpoints.glob("*/weights.pth"))
    for named in asked.only:
        if not any(asked_for([named], model, target) for model in models for target in TITLES):
            parser.error(
                f"--only {named} names nothing to make: {asked.checkpoints} holds "
                f"{', '.join(models) or 'no MODEL/weights.pth'}; targets are {', '.join(TITLES)}; schemes {', '.join(SCHEMES)}"
            )
    for target in TITLES:
        for weights in sorted(asked.checkpoints.glob("*/weights.pth")):
            model = weights.parent.name
            made_before = any((cell.model, cell.target) == (model, target) for cell in read())
            schemes = asked_for(asked.only, model, target) if asked.only or made_before else list(SCHEMES)
            if not schemes:
                continue
            checkpoint = trained(json.loads((weights.parent / LOG).read_text(encoding="utf-8")))
            cells = measured(model, target, weights, asked.data, asked.limit, asked.checkpoints / "artifacts", schemes)
            made = [replace(cell, checkpoint=checkpoint) for cell in cells]
            write(updated(read(), made, whole=len(schemes) == len(SCHEMES)))
            print("\n".join(row(cell, made[0]) for cell in made), flush=True)
    command = shlex.join(
        ["scripts/quantization", asked.checkpoints.name, "--data", asked.data.name, "--limit", str(asked.limit)]
    )
    REPORT.write_text(report(read(), command), encoding="utf-8")
    return 0


def asked_for(only: Sequence[str], model: str, target: str) -> list[str]:
    """The schemes of a model on a target that `--only` names."""
    named = [scheme for scheme in SCHEMES if f"{model}:{target}:{scheme}" in only]
    return list(SCHEMES) if {model, f"{model}:{target}"} & set(only) else named


def updated(kept: Sequence[Cell], made: Sequence[Cell], *, whole: bool) -> list[Cell]:
    """The cells with those made now in their places; not the original's, where it was made for a few others' sake."""
    new = {(cell.model, cell.target, cell.scheme): cell for cell in made if cell.scheme or whole}
    places = [(cell.model, cell.target, cell.scheme) for cell in kept]
    changed = [new.get(place, cell) for place, cell in zip(places, kept, strict=True)]
    return [*changed, *(cell for place, cell in new.items() if place not in places)]


def measured(
    model: str, target: str, weights: Path, data: Path, limit: int, output: Path, schemes: Sequence[str]
) -> Iterator[Cell]:
    """The original and the schemes of one model on one target, on the same images and in one job."""
    artifacts: dict[str, Artifact] = {}
    failures: dict[str, str] = {}
    for scheme in ("", *schemes):
        options: dict[str, Any] = {"weights": weights, "output": output, "force": True}
        if scheme:
            options |= {"quantize": {**SCHEMES[scheme], "calibration": data}, "device": DEVICES.get((target, scheme))}
        started = time.monotonic()
        try:
            artifacts[scheme] = edgekit.export(model, target, **options)
        except EdgekitError as error:
            failures[scheme] = f"{error.what}: {error.cause}" if error.cause else error.what
        told = failures.get(scheme, f"{time.monotonic() - started:.0f} s")
        print(f"{model} {target} {scheme or 'original'}: {told}", file=sys.stderr, flush=True)
    paths = {scheme: made.directory for scheme, made in artifacts.items()}
    images = max(1, round(limit * SHARES.get(target, 1.0)))
    judged = edgekit.evaluate(list(paths.values()), data, limit=images).accuracies
    by_subject = {one.subject: one for one in judged}
    faster = latencies(paths) if artifacts[""].manifest.device["transport"] == profiles.HOST else {}
    for scheme in ("", *schemes):
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


def read() -> list[Cell]:
    """The cells made until now."""
    lines = KEPT.read_text(encoding="utf-8").splitlines() if KEPT.exists() else []
    return [Cell(**_tuples(json.loads(line))) for line in lines]


def write(cells: Sequence[Cell]) -> None:
    """Keep them, in the order in which the report shows them."""
    cells = sorted(cells, key=lambda cell: (cell.model, list(TITLES).index(cell.target)))
    beside = KEPT.with_suffix(".part")
    beside.write_text("".join(json.dumps(asdict(cell)) + "\n" for cell in cells), encoding="utf-8")
    beside.replace(KEPT)


def _tuples(record: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}


def report(cells: Sequence[Cell], command: str) -> str:
    """The whole report."""
    originals = {(cell.model, cell.target): cell for cell in cells if not cell.scheme}
    lines = [
        "# What quantization costs and gains",
        "",
        f"Made by `{command}` on checkpoints of `scripts/train_classifier`:",
        "",
        *checkpoints(cells),
        "",
        "They know their input size. Calibrated on the train split, judged on the test split; points lost against the fp32",
        "model in PyTorch, image by image. Brackets hold 95 % intervals. Latencies of one model on one target were measured",
        "interleaved, on one pinned core. ExecuTorch artifacts were judged by one image in five; Core ML artifacts by one in",
        "fifty, executed by edgekit's reference interpreter, and not timed; those with weights of four bits are for iOS 18.",
        "Rows were made a model and target at a time, and a few alone beside their originals (`--only`): LOG.md tells of",
        "which the code has changed since.",
        "",
        *wanted(cells),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join(['---'] * 3 + ['---:'] * (len(COLUMNS) - 3))} |",
        *(row(cell, originals[cell.model, cell.target]) for cell in cells if not cell.failure),
        "",
        *refused(cells),
    ]
    return "\n".join(lines)


def checkpoints(cells: Sequence[Cell]) -> Iterator[str]:
    """How each was made; where a model has several, for which targets, and which cells of a target were made of another one
    than its original."""
    originals = {(cell.model, cell.target): cell.checkpoint for cell in cells if not cell.scheme}
    used: dict[tuple[str, str], dict[str, None]] = {}
    for cell in cells:
        kept = originals[cell.model, cell.target] == cell.checkpoint
        used.setdefault((cell.model, cell.checkpoint), {})[TITLES[cell.target] + ("" if kept else f" {cell.scheme}")] = None
    for (model, checkpoint), places in used.items():
        alone = sum(model == other for other, _ in used) == 1
        yield f"- {checkpoint}" + ("" if alone else f" ({', '.join(places)})")


def trained(log: dict[str, Any]) -> str:
    """How a checkpoint was made, and what it is worth, by the log that training left beside it."""
    settings, last = log["settings"], log["position"]["epochs"][-1]
    bf16 = " --bf16" if settings["bf16"] else ""
    sizes = f"--input-size {settings['input_size']} --first-size {settings['first_size']}"
    return (
        f"`{settings['model']} {sizes} --epochs {settings['epochs']:g} --minutes {settings['minutes']:g}{bf16}`: "
        f"{last['epochs']:.1f} epochs, {last['accuracy']:.1%} of {last['judged_on']:,} test images right".replace("%", " %")
    )


def wanted(cells: Sequence[Cell]) -> Iterator[str]:
    """Whether each model keeps what its users are promised, on the target that was judged on all images."""
    for scheme, most in MOST_LOST.items():
        losses = {cell.model: cell.lost for cell in cells if (cell.target, cell.scheme) == ("onnx", scheme) and cell.lost}
        told = (f"{model} {'yes' if lost[0] <= most else 'NO'}, {_interval(lost, 2, '')}" for model, lost in losses.items())
        yield f"- {scheme} in ONNX Runtime loses at most {most} points: {'; '.join(told)}"


def refused(cells: Sequence[Cell]) -> Iterator[str]:
    """Why there is no line for a scheme."""
    if any(cell.failure for cell in cells):
        yield "Refused, with nothing written:"
        yield ""
    for cell in cells:
        if cell.failure:
            yield f"- {cell.model}, {TITLES[cell.target]}, {cell.scheme}: {cell.failure}"
    yield ""


def row(cell: Cell, original: Cell) -> str:
    """A cell's line of the table."""
    start = [cell.model, TITLES[cell.target], cell.scheme or "-"]
    if cell.failure:
        return f"| {' | '.join([*start, cell.failure])} |"
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
