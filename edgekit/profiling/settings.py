"""What a user can ask of a measurement."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from edgekit.errors import UsageError

BURST_S = 7.0
"""Of 14 processes: what it takes to show a difference of 3 % on a busy machine (reports/statistics.md)."""
SUSTAINED_S = 60.0
"""MLPerf Mobile's single-stream scenario runs for 60 s at least."""


@dataclass(frozen=True)
class Settings:
    """One request. Raises UsageError for values that cannot be."""

    threads: int = 1
    duration_s: float | None = None
    """Of the timed runs of one subject, over all its processes; None for the mode's usual one."""
    mode: Literal["burst", "sustained"] = "burst"
    """`burst`: short blocks of runs, the other subjects between them, as an app that wakes up now and then. `sustained`: one
    subject without a pause, as a camera's frames: it shows clocks that fall as the device heats up."""
    cores: tuple[int, ...] | None = None
    """To pin to; None for the fastest core when there is one thread, and any otherwise."""
    spinning: bool | None = None
    """Whether the runtime's threads spin while they wait; None for the runtime's usual way."""
    batches: tuple[int, ...] = ()
    """Each subject is measured in batches of each of these sizes; as in its example where there are none."""
    energy: bool = False
    operators: bool = False

    def __post_init__(self) -> None:
        if self.duration_s is not None and not 0 < self.duration_s < math.inf:
            raise UsageError(f"cannot measure for {self.duration_s} s", next_step="give a positive number of seconds")
        if self.threads < 1:
            raise UsageError(f"cannot measure with {self.threads} threads", next_step="give 1 thread or more")
        if any(batch < 1 for batch in self.batches):
            raise UsageError(f"cannot measure a batch of {min(self.batches)}", next_step="give a batch of 1 or more")
        if self.cores is not None and len(set(self.cores)) < self.threads:
            raise UsageError(
                f"cannot measure with {self.threads} threads on {len(set(self.cores))} cores",
                cause="threads that share a core wait for each other",
                next_step="give as many cores as threads",
            )

    def check_cores(self, usable: Collection[int], device: str) -> None:
        """Raise UsageError for more threads than `device` has `usable` cores, and for cores other than those."""
        if self.threads > len(usable):
            raise UsageError(
                f"cannot measure with {self.threads} threads",
                cause=f"{device} lets edgekit use {len(usable)} core{'s' if len(usable) > 1 else ''}",
                next_step=f"give a number of threads between 1 and {len(usable)}",
            )
        if self.cores and not set(self.cores) <= set(usable):
            raise UsageError(
                f"cannot measure on the cores {', '.join(map(str, self.cores))}",
                cause=f"{device} lets edgekit use {', '.join(map(str, usable))}",
                next_step="choose among those",
            )

    @property
    def seconds(self) -> float:
        """Of the timed runs of one subject."""
        usual = SUSTAINED_S if self.mode == "sustained" else BURST_S
        return usual if self.duration_s is None else self.duration_s
