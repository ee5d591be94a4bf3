"""Which measurements may be compared with which, and how they compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.errors import UsageError
from edgekit.profiling.comparison import Comparison, compare
from edgekit.report.entry import Entry


@dataclass(frozen=True)
class Contender:
    """A measurement beside its contest's reference."""

    entry: Entry
    comparison: Comparison
    interleaved: bool
    """Whether both were measured in one job; else the machine's drift between the jobs is in the ratio."""


@dataclass(frozen=True)
class Contest:
    """Measurements whose latencies compare. The first one is the reference of the others."""

    reference: Entry
    others: tuple[Contender, ...]

    @property
    def fastest(self) -> Entry:
        """That of the lowest median."""
        return min((self.reference, *(one.entry for one in self.others)), key=lambda entry: entry.measurement.p50_s.value)


def contests(entries: Sequence[Entry]) -> tuple[Contest, ...]:
    """The contests of two or more, each in the order given."""
    groups: list[tuple[Entry, list[Contender]]] = []
    for entry in entries:
        for reference, others in groups:
            if (contender := _against(entry, reference)) is not None:
                others.append(contender)
                break
        else:
            groups.append((entry, []))
    return tuple(Contest(reference, tuple(others)) for reference, others in groups if others)


def _against(entry: Entry, reference: Entry) -> Contender | None:
    here, there = entry.measurement, reference.measurement
    if here.reference_timing != there.reference_timing or here.provenance != there.provenance:
        return None
    if (here.conditions.mode, here.conditions.batch) != (there.conditions.mode, there.conditions.batch):
        return None
    try:
        return Contender(entry, compare(here, there), interleaved=here.job == there.job)
    except UsageError:  # another device, system, processor or number of threads
        return None
