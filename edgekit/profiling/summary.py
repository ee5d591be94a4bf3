"""From what the processes measured to a `Measurement`."""

from __future__ import annotations

import statistics as stdlib_statistics
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Literal, TypeVar

from edgekit.profiling import statistics
from edgekit.profiling.measurement import (
    Conditions,
    DeviceParity,
    Energy,
    Fingerprint,
    Floor,
    Measurement,
    Memory,
    Model,
    OperatorProfile,
    Process,
)
from edgekit.runtimes import REFERENCE

_T = TypeVar("_T")


def summarize(
    subject: str,
    model: Model,
    processes: Sequence[Process],
    *,
    fingerprint: Fingerprint,
    conditions: Conditions,
    floor: Floor,
    job: str,
    started_at: str,
    provenance: Literal["measured", "replayed", "ingested"] = "measured",
    source: str | None = None,
    energy: Energy | None = None,
    parity: DeviceParity | None = None,
    operators: OperatorProfile | None = None,
    interrupted: str | None = None,
) -> Measurement:
    """The measurement that `processes` made of `subject`."""
    samples = [process.latency_s for process in processes]
    return Measurement(
        subject=subject,
        model=model,
        job=job,
        started_at=started_at,
        provenance=provenance,
        source=source,
        conditions=conditions,
        fingerprint=fingerprint,
        p50_s=statistics.quantile(samples, 0.50),
        p90_s=statistics.quantile(samples, 0.90),
        p99_s=statistics.quantile(samples, 0.99),
        mad_s=statistics.mad(samples),
        outliers=statistics.outliers(samples),
        drift=statistics.drift(samples),
        steady=_most([process.steady for process in processes]),
        waited_share=max(_known(process.waited_share for process in processes), default=None),
        cold_load_s=_median(process.load_s for process in processes if process.load_was_cold),
        warm_load_s=_median(process.load_s for process in processes if process.load_was_cold is False),
        first_run_s=_median(process.first_run_s for process in processes),
        memory=Memory(
            **{
                field.name: max(_known(getattr(process.memory, field.name) for process in processes), default=None)
                for field in fields(Memory)
            }
        ),
        energy=energy or Energy(status="not_requested", reason="give --energy to measure it"),
        floor=floor,
        processes=tuple(processes),
        parity=parity,
        operators=operators,
        reference_timing=REFERENCE in fingerprint.runtime,
        interrupted=interrupted,
    )


def _known(values: Iterable[_T | None]) -> list[_T]:
    return [value for value in values if value is not None]


def _median(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return stdlib_statistics.median(known) if known else None


def _most(answers: Sequence[bool | None]) -> bool | None:
    """Whether more than half are true; None where those that are unknown decide."""
    half, true, unknown = len(answers) / 2, answers.count(True), answers.count(None)
    return True if true > half else False if true + unknown <= half else None
