"""What papers claim of these models, beside what was measured, with the settings that differ."""

from __future__ import annotations

from edgekit import claims
from edgekit.claims import Claim, Paper, Settings
from edgekit.profiling.measurement import Measurement
from edgekit.report.collection import Collection, machine
from edgekit.report.content import UNKNOWN, Cell, Column, Section, Table, number, words
from edgekit.report.entry import Entry
from edgekit.report.quantities import counted, digits, interval

_COLUMNS = (
    Column("model"),
    Column("claimed", number=True),
    Column("by"),
    Column("measured here", number=True),
    Column("subject"),
    Column("settings that differ: claimed / here"),
)
_UNITS = {
    "latency_s": ("ms", 1e3),
    "images_per_s": ("images/s", 1.0),
    "tokens_per_s": ("tokens/s", 1.0),
    "memory_bytes": ("GB", 1e-9),
}
_MOST_BESIDE = 3
"""Measurements beside one claim: those whose settings are nearest."""


def section(collection: Collection) -> Section:
    """Every claim on record of a model that was measured."""
    rows = [
        _row(paper, claim, entry)
        for paper in claims.papers()
        for claim in paper.claims
        for entry in _nearest(claim, collection)
    ]
    if not rows:
        return Section(
            "claims",
            "What papers claim",
            absent="no figure of any of these models is on record: claims/*.yaml has those there are",
        )
    return Section(
        "claims",
        "What papers claim",
        sentences=(
            "Claims are their authors', stored with their source; edgekit did not measure them. A claim and a measurement "
            "compare only where nothing differs, which on another device is never.",
        ),
        tables=(Table(counted(len(rows), "claim beside a measurement", "claims beside measurements"), _COLUMNS, tuple(rows)),),
    )


def _nearest(claim: Claim, collection: Collection) -> list[Entry]:
    """The measurements of the claim's model, those with the fewest different settings first."""
    same = [entry for entry in collection.shown if entry.measurement.model.name == claim.model]
    return sorted(same, key=lambda entry: len(differences(claim.settings, entry.measurement)))[:_MOST_BESIDE]


def differences(claimed: Settings, measurement: Measurement) -> list[str]:
    """`setting: claimed / here` of every setting that is not known to be the same."""
    fingerprint, conditions = measurement.fingerprint, measurement.conditions
    shape = next(iter((conditions.input_shapes or {}).values()), None)
    batch = conditions.batch or (shape[0] if shape else None)
    here: dict[str, tuple[object, object]] = {
        "device": (claimed.device, machine(fingerprint)),
        "compute unit": (
            claimed.compute_unit,
            "GPU" if fingerprint.gpu else None if measurement.model.target == "coreml" else "CPU",
        ),
        "runtime": (claimed.runtime, fingerprint.runtime),
        "precision": (claimed.precision, measurement.model.quantization or measurement.model.precision),
        "batch": (claimed.batch, batch),
        "input": (claimed.input_size, shape[-1] if shape and len(shape) == 4 else None),
    }
    told = [f"{name}: {_said(theirs)} / {_said(ours)}" for name, (theirs, ours) in here.items() if not _same(theirs, ours)]
    return [*told, *([f"also: {claimed.note}"] if claimed.note else [])]


def _same(theirs: object, ours: object) -> bool:
    """Whether both are known and say the same; a runtime here has its version."""
    if theirs is None or ours is None:
        return False
    claimed, here = str(theirs).casefold().replace(" ", ""), str(ours).casefold().replace(" ", "")
    return claimed == here or (not claimed.isdigit() and here.startswith(claimed))


def _said(value: object) -> str:
    return "not stated" if value is None else str(value)


def _row(paper: Paper, claim: Claim, entry: Entry) -> tuple[Cell, ...]:
    unit, scale = _UNITS[claim.quantity]
    return (
        words(claim.model),
        number(claim.value * scale, f"{digits(claim.value * scale)} {unit}"),
        words(f"{paper.title}, {claim.table}", detail=f"{paper.reference}; read: {paper.evidence}"),
        _measured(claim, entry.measurement),
        words(entry.label, marks=entry.marks),
        words(";\n".join(differences(claim.settings, entry.measurement))),
    )


def _measured(claim: Claim, measurement: Measurement) -> Cell:
    """The same quantity as measured; a dash where it was not."""
    unit, scale = _UNITS[claim.quantity]
    if claim.quantity == "latency_s":
        p50 = measurement.p50_s
        return number(p50.value * scale, f"{digits(p50.value * scale)} {unit}", detail=interval(p50, scale))
    if claim.quantity == "images_per_s":
        shape = next(iter((measurement.conditions.input_shapes or {}).values()), None)
        batch = measurement.conditions.batch or (shape[0] if shape else 1)
        rate = batch / measurement.p50_s.value
        return number(rate, f"{digits(rate)} {unit}", detail=f"one batch of {batch} after another")
    peak = measurement.memory.process_peak_bytes if claim.quantity == "memory_bytes" else None
    return Cell(UNKNOWN, None) if peak is None else number(peak * scale, f"{digits(peak * scale)} {unit}")
