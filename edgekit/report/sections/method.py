"""How it was measured."""

from __future__ import annotations

import edgekit
from edgekit.profiling.statistics import minimum_samples
from edgekit.report.collection import Collection
from edgekit.report.content import Section
from edgekit.report.quantities import counted, listed


def section(collection: Collection) -> Section:
    """What the figures are, and of how much they are made."""
    sentences = [f"This report was written by edgekit {edgekit.__version__}."]
    if collection.shown:
        sentences += _measured(collection)
    if collection.evaluated:
        sentences += _evaluated(collection)
    return Section("method", "How it was measured", sentences=tuple(sentences))


def _measured(collection: Collection) -> list[str]:
    measurements = [entry.measurement for entry in collection.shown]
    processes = [len(measurement.processes) for measurement in measurements]
    runs = [measurement.runs for measurement in measurements]
    modes = sorted({measurement.conditions.mode for measurement in measurements})
    sentences = [
        f"Measured by edgekit {listed(sorted({m.fingerprint.edgekit for m in measurements}))}. Each "
        f"subject ran in {_span(processes)} fresh processes, {_span(runs)} timed runs in "
        "all, after a warm-up that went on until rolling medians agreed within 2 %, or was cut off and is then called not "
        "steady.",
    ]
    if "burst" in modes:
        sentences.append("Burst: subjects of one job took turns in short blocks in random order, so that drift hit them alike.")
    if "sustained" in modes:
        sentences.append("Sustained: one subject ran without a pause, so that heat and clocks count as they would in use.")
    sentences += [
        "Quantiles are of the runs of all processes. Their 95 % intervals allow for two things: processes of one model "
        "differ by chance (Kalibera and Jones 2013), and runs that follow each other are alike (Künsch 1989). No interval "
        f"is given below the number of runs that can bound a quantile: {minimum_samples(0.5)} for the median, "
        f"{minimum_samples(0.9)} for p90, {minimum_samples(0.99)} for p99.",
        "The floor is the larger of two times: the model's multiply-adds at the fastest fp32 matrix product seen on the "
        "machine, and its weights, inputs and outputs at the fastest read of memory seen on it (Williams, Waterman and "
        "Patterson 2009).",
        "Energy is gross (everything in the counter's scope) and, beside it, what the idle machine would have taken less. A "
        "counter that did not move is not zero joules.",
    ]
    said = {
        "replayed": "Replayed: the session with the device was recorded earlier and played back.",
        "ingested": "Ingested: another tool measured, and its result file was read.",
        "reference timing": "Reference timing: an interpreter made to be right was timed where the runtime itself does not "
        "run; such a figure says nothing of that runtime or of a phone.",
        "interrupted": "Interrupted: the job ended before its time; its samples are those taken until then.",
    }
    marks = {mark for entry in (*collection.shown, *collection.past) for mark in entry.marks}
    sentences += [text for mark, text in said.items() if mark in marks]
    past = counted(len(collection.past), "older measurement")
    if collection.past:
        sentences.append(f"{past} from the folders given are in the trend alone.")
    return sentences


def _evaluated(collection: Collection) -> list[str]:
    versions = listed(sorted({one.accuracy.edgekit for one in collection.evaluated}))
    return [
        f"Evaluated by edgekit {versions}: all subjects of one job ran on the same samples, each in the batch it was made for. "
        "Intervals of accuracy, agreement, divergence and SQNR are of 2000 resamples of the samples (Efron 1979), and no "
        "narrower than Wilson's (1927) for a share, and Agresti and Min's (2005) for a paired difference. McNemar's test is "
        "exact and two-sided.",
    ]


def _span(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
