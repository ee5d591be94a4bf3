"""How much slower or faster one subject is than another, and whether that can be told."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgekit.errors import UsageError
from edgekit.profiling import statistics, timing
from edgekit.profiling.measurement import Estimate, Measurement, Process

_MUST_AGREE = ("device", "os", "cpu", "cpu_flags", "cores", "threads")
"""Fingerprint fields without which latencies do not compare; the runtime may well be what is being compared."""


@dataclass(frozen=True)
class Comparison:
    """A subject beside the one it is compared with."""

    subject: str
    reference: str
    ratio: Estimate
    """Of latencies, the subject's over the reference's: below 1 is faster."""

    @property
    def finding(self) -> Literal["faster", "slower", "no difference shown", "undecided"]:
        """What the interval allows to say; `undecided` without one."""
        if self.ratio.low is None or self.ratio.high is None:
            return "undecided"
        if self.ratio.high < 1:
            return "faster"
        return "slower" if self.ratio.low > 1 else "no difference shown"

    @property
    def verdict(self) -> str:
        """The finding and its figures: "faster by 1.31x [1.28, 1.34]", "slower by ..." (both above 1, as people say it) or
        "no difference shown (1.00x [0.98, 1.02])"."""
        if self.finding == "faster":
            return f"faster by {times(_inverse(self.ratio))}"
        if self.finding == "slower":
            return f"slower by {times(self.ratio)}"
        if self.finding == "undecided":
            return f"undecided ({times(self.ratio)}): {self.ratio.reason}"
        return f"no difference shown ({times(self.ratio)})"

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON holds it."""
        return {**dataclasses.asdict(self), "finding": self.finding, "verdict": self.verdict}


def compare(measurement: Measurement, reference: Measurement) -> Comparison:
    """`measurement` beside `reference`. Raises UsageError when device, system, processor or threads differ."""
    return Comparison(measurement.subject, reference.subject, ratio(measurement, reference))


def ratio(measurement: Measurement, reference: Measurement) -> Estimate:
    """The median latency of `measurement` over that of `reference`, with its 95 % interval. Where it is known of both for how
    long other programs had the core, that is left out: it is no property of the subjects.

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
    everyone = (*measurement.processes, *reference.processes)
    net = all(process.waited_s is not None for process in everyone)
    return statistics.ratio_of_medians(
        [blocks(process, net=net) for process in measurement.processes],
        [blocks(process, net=net) for process in reference.processes],
        paired=measurement.job == reference.job,
    )


def blocks(process: Process, *, net: bool) -> list[Sequence[float]]:
    """Seconds of each run by block; `net` without what it waited for its core."""
    latency_s: Sequence[float] = process.latency_s
    if net and process.waited_s is not None:
        latency_s = timing.net_s(latency_s, process.waited_s)
    ends = list(itertools.accumulate(process.block_runs))
    return [latency_s[end - runs : end] for end, runs in zip(ends, process.block_runs, strict=True)]


def times(ratio: Estimate) -> str:
    """A ratio with its interval, to as many digits as set it apart from 1."""
    bounds = [bound for bound in (ratio.low, ratio.high) if bound is not None]
    near = min((abs(bound - 1) for bound in (ratio.value, *bounds) if bound != 1), default=1.0)
    digits = 2 if near >= 0.005 else 3
    interval = f" [{', '.join(f'{bound:.{digits}f}' for bound in bounds)}]" if bounds else ""
    return f"{ratio.value:.{digits}f}x{interval}"


def _inverse(ratio: Estimate) -> Estimate:
    """The ratio the other way round."""
    assert ratio.low is not None
    assert ratio.high is not None
    return Estimate(1 / ratio.value, 1 / ratio.high, 1 / ratio.low)
