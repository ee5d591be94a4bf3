"""Measurements of one subject, made one after another, as one measurement with the samples of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from edgekit.errors import InputError
from edgekit.profiling.measurement import Energy, Measurement
from edgekit.profiling.summary import summarize


def appended(measurement: Measurement, more: Measurement) -> Measurement:
    """`measurement` with the processes of `more` after its own. Its statistics are still those of before: `summarized` makes
    them anew, which takes longer than it may between two looks. Raises InputError when another model or machine was measured.
    """
    changed = [name for name in ("model", "fingerprint") if getattr(measurement, name) != getattr(more, name)]
    if changed:
        raise InputError(
            f"{measurement.subject} changed while it was measured",
            cause=f"its {changed[0]} differs between two jobs",
            next_step="let nothing write to it meanwhile, and start again",
        )
    return dataclasses.replace(
        measurement,
        job=f"{measurement.job}+{more.job}",
        processes=measurement.processes + more.processes,
        conditions=dataclasses.replace(measurement.conditions, after=more.conditions.after, mean_clock_hz=None),
        steady=False if more.steady is False else measurement.steady,
        energy=_together(measurement.energy, more.energy),
        parity=more.parity if more.parity is not None and not more.parity.passed else measurement.parity,
        interrupted=measurement.interrupted or more.interrupted,
    )


def summarized(measurement: Measurement) -> Measurement:
    """The same with statistics over all its processes."""
    given = {
        name: getattr(measurement, name)
        for name in (
            "fingerprint",
            "conditions",
            "floor",
            "job",
            "started_at",
            "provenance",
            "source",
            "energy",
            "parity",
            "operators",
            "interrupted",
        )
    }
    made = summarize(measurement.subject, measurement.model, measurement.processes, **given)
    floor_s = made.floor.floor_s
    beaten = None if floor_s is None else made.p50_s.value < floor_s
    return dataclasses.replace(made, floor=dataclasses.replace(made.floor, beaten=beaten))


def _together(energy: Energy, more: Energy) -> Energy:
    """Both windows as one: joules a run by how many runs each held."""
    if energy.gross_j is None or more.gross_j is None or not energy.runs or not more.runs:
        return more if energy.gross_j is None else energy
    runs = energy.runs + more.runs

    def mean(name: str) -> float | None:
        values: Sequence[float | None] = (getattr(energy, name), getattr(more, name))
        if values[0] is None or values[1] is None:
            return None
        return (values[0] * (energy.runs or 0) + values[1] * (more.runs or 0)) / runs

    windows = (energy.window_s, more.window_s)
    return dataclasses.replace(
        energy,
        gross_j=mean("gross_j"),
        net_j=mean("net_j"),
        idle_w=mean("idle_w"),
        window_s=None if None in windows else sum(window for window in windows if window is not None),
        runs=runs,
    )
