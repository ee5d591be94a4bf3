"""The parts of a report, one a file: `section(collection) -> Section`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from edgekit.report.collection import Collection
from edgekit.report.content import Section

ORDER = (
    "summary",  # the answer first
    "latency",
    "comparison",
    "distributions",  # what the intervals rest on
    "accuracy",  # what all of the above was bought with
    "sensitivity",  # where that was lost
    "operators",
    "roofline",
    "pareto",
    "trend",
    "claims",
    "warnings",  # the last three are for whoever doubts
    "conditions",
    "method",
)
"""As a reader meets them."""


def of(collection: Collection) -> Iterator[Section]:
    """Every section, in order."""
    for name in ORDER:
        yield importlib.import_module(f"{__name__}.{name}").section(collection)
