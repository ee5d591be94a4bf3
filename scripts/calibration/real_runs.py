"""Real comparisons of an artifact with itself and with itself slowed by 3 %, kept as they are made."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration import background
from edgekit import profiling
from edgekit.profiling.measurement import Measurement

SLOWED = Path(__file__).with_name("slowed.py")
JOBS = 67
"""Of three times the artifact and once the slowed one: 201 comparisons of equals, 201 of the slowed with an equal."""
TURNS = 20
"""Of the artifact alone, the artifact alone again, and the slowed one alone, one job after another."""
ROW = 21
"""Of the artifact alone, one right after the other, when all others are there: 20 pairs."""


@dataclass(frozen=True)
class Sample:
    """What was measured at one time: a job of several subjects, or jobs of one subject each in a row."""

    kind: str
    """interleaved, in turns, or in a row."""
    measurements: list[Measurement]
    load_1min: float
    """When it ended."""
    took_s: float


def read(file: Path) -> list[Sample]:
    """What was kept so far."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [_from_json(json.loads(line)) for line in lines]


def _from_json(record: dict[str, Any]) -> Sample:
    measurements = [Measurement.from_json(json.dumps(one)) for one in record.pop("measurements")]
    return Sample(measurements=measurements, **record)


def collect(artifact: Path, file: Path, *, minutes: float) -> None:
    """Go on where the last call ended, for about so many minutes: each sample is written as soon as it is there."""
    ends = time.monotonic() + 60 * minutes
    for kind in missing(read(file)):
        if time.monotonic() >= ends:
            return
        started = time.monotonic()
        with background.load():
            measurements = _measured(kind, str(artifact), f"{SLOWED}:{artifact}")
        took_s, load = time.monotonic() - started, os.getloadavg()[0]
        record = {"kind": kind, "load_1min": load, "took_s": took_s, "measurements": [one.as_dict() for one in measurements]}
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as lines:
            lines.write(json.dumps(record) + "\n")
        medians = ", ".join(f"{1e3 * one.p50_s.value:.2f}" for one in measurements)
        print(f"{kind}: {medians} ms in {took_s:.0f} s, load {load:.1f}", flush=True)


def missing(there: list[Sample]) -> Iterator[str]:
    """What is still to be measured, two kinds in turns, so that both see the same loads, and the row at the end."""
    left = {"interleaved": JOBS, "in turns": TURNS, "in a row": ROW}
    for sample in there:
        left[sample.kind] -= 1
    while any(left[kind] > 0 for kind in ("interleaved", "in turns")):
        kind = max(("interleaved", "in turns"), key=lambda kind: left[kind] / (JOBS if kind == "interleaved" else TURNS))
        left[kind] -= 1
        yield kind
    yield from ["in a row"] * left["in a row"]


def _measured(kind: str, artifact: str, slowed: str) -> list[Measurement]:
    if kind == "interleaved":
        return profiling.profile([artifact, artifact, artifact, slowed])
    if kind == "in a row":
        return profiling.profile([artifact])
    return [profiling.profile([subject])[0] for subject in (artifact, artifact, slowed)]
