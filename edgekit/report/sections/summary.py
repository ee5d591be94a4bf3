"""The answer in sentences: what was measured on what, which was the fastest, and what should be doubted."""

from __future__ import annotations

from collections import Counter

from edgekit.evaluation.table import verdict
from edgekit.profiling import table
from edgekit.report.collection import Collection, elided, printable, samples, threads
from edgekit.report.content import Section
from edgekit.report.contest import Contest
from edgekit.report.entry import Entry
from edgekit.report.quantities import counted, digits, listed, milliseconds

_MOST = 4
"""Contests, and warnings, that are told here; the sections have all."""


def section(collection: Collection) -> Section:
    """Sentences that can be read alone."""
    measured = _of_measurements(collection) if collection.shown else []
    return Section("summary", "Summary", sentences=(*measured, *_lost(collection)))


def _of_measurements(collection: Collection) -> list[str]:
    return [_measured(collection), *_outcome(collection), *_provenance(collection), *_doubts(collection)]


def _lost(collection: Collection) -> list[str]:
    """Of each evaluation beside a reference, what was lost."""
    told = []
    for one in collection.evaluated:
        against, top1 = one.accuracy.against, one.accuracy.top1_percent
        if against is None:
            continue
        outputs = f"agrees with {elided(printable(against.reference))} on {against.agreement_percent.value:.2f} % of samples"
        if against.accuracy_drop_points is not None and top1 is not None:
            outputs = f"top-1 {top1.value:.2f} %, {verdict(against.accuracy_drop_points)}; {outputs}"
        told.append(f"{one.label} on {samples(one.accuracy.data)}: {outputs}.")
    more = [f"{counted(len(told) - _MOST, 'more evaluation')} are below."] if len(told) > _MOST else []
    return [*told[:_MOST], *more]


def _measured(collection: Collection) -> str:
    shown = collection.shown
    machines = list(dict.fromkeys(_machine(entry) for entry in shown))
    models = list(dict.fromkeys(entry.measurement.model.name for entry in shown))
    jobs = len({entry.measurement.job for entry in shown})
    days = sorted({entry.started.strftime("%Y-%m-%d") for entry in shown if entry.started})
    when = "" if not days else f" on {days[0]}" if len(days) == 1 else f" from {days[0]} to {days[-1]}"
    return (
        f"{counted(len(shown), 'measurement')} of {listed(models)}, made in {counted(jobs, 'job')}{when}, on "
        f"{listed(machines, 4)}."
    )


def _machine(entry: Entry) -> str:
    fingerprint = entry.measurement.fingerprint
    known = [fingerprint.hardware or fingerprint.cpu, fingerprint.gpu, fingerprint.os]
    return f"{fingerprint.device} ({', '.join(filter(None, (*known, threads(fingerprint))))})"


def _outcome(collection: Collection) -> list[str]:
    """The fastest of each contest; of a single measurement, its latency."""
    contests = collection.contests
    if not contests:
        fastest = sorted(collection.shown, key=lambda entry: entry.measurement.p50_s.value)[:_MOST]
        return [f"{entry.marked} takes {milliseconds(entry.measurement.p50_s)} (median, 95 % interval)." for entry in fastest]
    told = [_race(contest) for contest in contests[:_MOST]]
    if len(contests) > _MOST:
        told.append(f"{counted(len(contests) - _MOST, 'more group')} of measurements compare among themselves, below.")
    return told


def _race(contest: Contest) -> str:
    """Who won a contest, and how the others compare with its reference."""
    fastest = contest.fastest
    said = f"Fastest: {fastest.marked}, {milliseconds(fastest.measurement.p50_s)}"
    floor = fastest.measurement.floor.floor_s
    if floor is not None:
        said += f", {digits(fastest.measurement.p50_s.value / floor)} times its floor"
    verdicts = [f"{other.entry.marked} {other.comparison.verdict}" for other in contest.others[:_MOST]]
    if len(contest.others) > _MOST:
        verdicts.append(f"{len(contest.others) - _MOST} more are below")
    return f"{said}. Against {contest.reference.marked}: {'; '.join(verdicts)}."


def _provenance(collection: Collection) -> list[str]:
    marks = Counter(mark for entry in collection.shown for mark in entry.marks)
    told = []
    if marks["replayed"] or marks["ingested"]:
        parts = [f"{marks[mark]} {mark}" for mark in ("replayed", "ingested") if marks[mark]]
        told.append(f"Not measured now: {listed(parts)}, and labelled so.")
    if marks["reference timing"]:
        told.append(
            f"Of {counted(marks['reference timing'], 'measurement')} the timing is of edgekit's reference interpreter, not "
            "of the runtime it stands for, nor of a phone."
        )
    return told


def _doubts(collection: Collection) -> list[str]:
    doubted = [(entry.label, found) for entry in collection.shown if (found := table.doubts(entry.measurement))]
    if not doubted:
        return ["Nothing in the measurements themselves casts doubt on them."]
    told = [f"{label} ({'; '.join(warning.split(': ')[0] for warning in found)})" for label, found in doubted]
    return [f'To be doubted: {listed(told, _MOST)}. What to do about it is under "What to doubt".']
