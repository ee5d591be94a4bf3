"""Edgekit's artifacts and their rivals, made from the same module and weights, measured interleaved on one core in fp32."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import rival

import edgekit
from edgekit import cache, profiling
from edgekit.artifact import Artifact
from edgekit.errors import EdgekitError
from edgekit.profiling import Measurement, comparison, table

REPORTS = Path(__file__).parent.parent / "reports"
TARGETS = ("onnx", "executorch")
BOUND_SQNR_DB = 60.0
"""What edgekit asks of its own artifacts in fp32."""
COLUMNS = ("subject", "runtime", "p50 ms [95 %]", "to edgekit's best [95 %]", "SQNR dB", "max error/spread")


@dataclass(frozen=True)
class Entry:
    """A subject of the comparison: what it computes, and what it took unless it failed."""

    title: str
    ours: bool
    sqnr_db: float | None
    max_error_over_spread: float | None
    failure: str = ""
    measurement: Measurement | None = None

    @property
    def right(self) -> bool:
        """Whether it computes the model."""
        return self.sqnr_db is not None and self.sqnr_db >= BOUND_SQNR_DB

    @property
    def p50_s(self) -> float:
        """Its median latency; infinite when it was not measured."""
        return self.measurement.p50_s.value if self.measurement else float("inf")


def best(entries: Sequence[Entry], *, ours: bool) -> Entry | None:
    """The fastest of edgekit's artifacts or of the rivals, among those that compute the model."""
    measured = [entry for entry in entries if entry.ours == ours and entry.right and entry.measurement]
    return min(measured, key=lambda entry: entry.p50_s, default=None)


def lines(entries: Sequence[Entry]) -> list[str]:
    """The table in Markdown: edgekit's first, each fastest first, then those that failed, with the reason."""
    reference = best(entries, ours=True)
    rows = [" | ".join(COLUMNS), " | ".join(["---"] * len(COLUMNS))]
    for entry in sorted(entries, key=lambda entry: (not entry.ours, entry.p50_s)):
        if not entry.measurement:
            cells = [entry.title, entry.failure, *["-"] * (len(COLUMNS) - 2)]
        else:
            measured = entry.measurement
            beside = comparison.ratio(measured, reference.measurement) if reference and reference.measurement else None
            cells = [
                entry.title,
                measured.fingerprint.runtime,
                table.milliseconds(measured.p50_s),
                comparison.times(beside) if beside else "-",
                f"{entry.sqnr_db:.0f}" if entry.right else f"**{entry.sqnr_db:.0f}: wrong**",
                f"{entry.max_error_over_spread:.1e}",
            ]
        rows.append(" | ".join(cells))
    return [f"| {row} |" for row in rows]


def verdict(entries: Sequence[Entry]) -> str:
    """How edgekit's best compares with the best rival that is right."""
    ours, theirs = best(entries, ours=True), best(entries, ours=False)
    if not ours or not theirs or not ours.measurement or not theirs.measurement:
        missing = "artifact of edgekit's" if not ours else "rival"
        return f"No verdict: no {missing} was both right and measured."
    found = comparison.compare(ours.measurement, theirs.measurement)
    pair = f"edgekit's best ({ours.title}) beside the best rival ({theirs.title}, {theirs.measurement.fingerprint.runtime})"
    return f"{pair}: {found.verdict}"


def subjects(model: str, folder: Path) -> list[tuple[Entry, str | None]]:
    """Every subject with what `edgekit.profile` takes for it: made now, or found as it was made before."""
    found: list[tuple[Entry, str | None]] = []
    made: Artifact | None = None
    for target in TARGETS:
        try:
            made = edgekit.export(model, target, output=folder)
            parity = made.manifest.parity.conversion
            entry = Entry(f"edgekit, {target}", True, parity.sqnr_db, parity.max_error_over_spread)
            found.append((entry, str(made.directory)))
        except EdgekitError as error:
            found.append((Entry(f"edgekit, {target}", True, None, None, rival.one_line(error)), None))
    if made is None:
        raise SystemExit("\n".join(entry.failure for entry, _ in found))
    for other in rival.find():
        one = rival.make(other, made, cache.folder() / "rivals")
        print(f"{one.title}: {one.failure or f'{one.sqnr_db:.0f} dB'}", flush=True)
        found.append(
            (Entry(one.title, False, one.sqnr_db, one.max_error_over_spread, one.failure), None if one.failure else one.subject)
        )
    return found


def measured(found: Sequence[tuple[Entry, str | None]]) -> list[Entry]:
    """All subjects that can be measured, measured interleaved on one core."""
    took = iter(profiling.profile([subject for _, subject in found if subject], settings=profiling.Settings(duration_s=3.0)))
    # Titles for the folders: those are this machine's and gone tomorrow.
    return [
        replace(entry, measurement=replace(next(took), subject=entry.title)) if subject else entry for entry, subject in found
    ]


def report(model: str, entries: Sequence[Entry]) -> str:
    """The report in Markdown."""
    any_one = next(entry.measurement for entry in entries if entry.measurement)
    reference = best(entries, ours=True)
    floor = reference.measurement.floor if reference and reference.measurement else None
    decisive = [entry for entry in (reference, best(entries, ours=False)) if entry]
    doubts = [f"- {e.title}: {doubt}" for e in decisive if e.measurement for doubt in table.warnings(e.measurement)]
    return "\n".join(
        [
            f"# {model} on one core\n",
            f"Made by `scripts/bench {model}` on {any_one.fingerprint.cpu}, {any_one.started_at[:10]}: fp32, one thread, the "
            "same module and weights, all subjects interleaved in one run. SQNR and errors are against PyTorch eager.\n",
            *lines(entries),
            "",
            *(
                [f"The floor of its multiply-adds on this core is {floor.floor_s * 1e3:.2f} ms.\n"]
                if floor and floor.floor_s
                else []
            ),
            *([*doubts, ""] if doubts else []),
            f"**{verdict(entries)}.**",
        ]
    )


def main() -> None:
    """Make the subjects, measure them, print the report and keep it with its samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="lsnet_t")
    parser.add_argument("--convert", action="store_true", help="make the subjects, for a later run to measure, and stop")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = subjects(asked.model, Path(scratch))
        if asked.convert:
            return
        entries = measured(found)
    text = report(asked.model, entries)
    print(text)
    (REPORTS / f"bench_{asked.model}.md").write_text(f"{text}\n")
    samples = [entry.measurement.as_dict() for entry in entries if entry.measurement]
    (REPORTS / f"bench_{asked.model}.json").write_text(json.dumps(samples) + "\n")


if __name__ == "__main__":
    main()
