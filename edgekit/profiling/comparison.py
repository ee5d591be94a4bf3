"""How much slower or faster one subject is than another."""

from __future__ import annotations

from edgekit.errors import UsageError
from edgekit.profiling import statistics
from edgekit.profiling.measurement import Estimate, Measurement

_MUST_AGREE = ("device", "os", "cpu", "cpu_flags", "cores", "threads")
"""Fingerprint fields without which latencies do not compare; the runtime may well be what is being compared."""


def ratio(measurement: Measurement, reference: Measurement) -> Estimate:
    """The median latency of `measurement` over that of `reference`, with its 95 % interval.

    Paired when both come from one job. Raises UsageError when device, system, processor or threads differ.
    """
    here, there = measurement.fingerprint, reference.fingerprint
    differing = [name for name in _MUST_AGREE if getattr(here, name) != getattr(there, name)]
    if None in (here.threads, there.threads) and "threads" in differing:
        differing.remove("threads")  # one of them chooses its own: part of what is being compared
    if differing:
        name = differing[0]
        raise UsageError(
            f"{measurement.subject} and {reference.subject} cannot be compared",
            cause=f"they were measured with another {name}: {getattr(here, name)} and {getattr(there, name)}",
            next_step="measure both in one call",
        )
    return statistics.ratio_of_medians(
        [process.latency_s for process in measurement.processes],
        [process.latency_s for process in reference.processes],
        paired=measurement.job == reference.job,
    )
