"""How much slower or faster one subject is than another."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgekit.errors import UsageError
from edgekit.profiling import statistics
from edgekit.profiling.measurement import Estimate, Measurement

_MUST_AGREE = ("device", "hardware", "os", "cpu", "cpu_flags", "cores", "gpu", "threads")
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


@dataclass(frozen=True)
class Comparison:
    """How one subject's median latency compares with that of another of its job."""

    subject: str
    reference: str
    ratio: Estimate
    """Of the subject's to the reference's: below 1 is faster."""
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def compare(measurement: Measurement, reference: Measurement) -> Comparison:
    """How `measurement` compares with `reference`, in words too. Raises UsageError where they cannot be compared."""
    found = ratio(measurement, reference)
    return Comparison(measurement.subject, reference.subject, found, _verdict(found))


def _verdict(found: Estimate) -> str:
    """Faster or slower by a factor above 1; a difference that the interval does not show is none."""
    if found.low is None or found.high is None:
        return f"too few runs to tell ({found.reason})"
    if found.high < 1:
        return f"faster by {1 / found.value:.2f}x [{1 / found.high:.2f}, {1 / found.low:.2f}]"
    if found.low > 1:
        return f"slower by {found.value:.2f}x [{found.low:.2f}, {found.high:.2f}]"
    return f"no difference shown, {found.value:.2f}x [{found.low:.2f}, {found.high:.2f}]"
