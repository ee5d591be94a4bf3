"""What should make a reader doubt the figures, in full."""

from __future__ import annotations

from edgekit.profiling import table
from edgekit.report.collection import Collection
from edgekit.report.content import NO_MEASUREMENTS, Column, Section, Table, words
from edgekit.report.quantities import counted


def section(collection: Collection) -> Section:
    """Every warning of every measurement shown."""
    rows = tuple(
        (words(entry.label, marks=entry.marks), words(warning))
        for entry in collection.shown
        for warning in table.warnings(entry.measurement)
    )
    if not collection.shown:
        return Section("warnings", "What to doubt", absent=NO_MEASUREMENTS)
    if not rows:
        said = f"Nothing to warn of in {counted(len(collection.shown), 'measurement')}."
        return Section("warnings", "What to doubt", sentences=(said,))
    doubted = sum(bool(table.doubts(entry.measurement)) for entry in collection.shown)
    return Section(
        "warnings",
        "What to doubt",
        sentences=(f"The latencies of {doubted} of {counted(len(collection.shown), 'measurement')} should be read with care.",),
        tables=(Table(counted(len(rows), "warning"), (Column("subject"), Column("warning")), rows),),
    )
