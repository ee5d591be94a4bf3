"""How many processes and blocks a measurement takes."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.profiling.settings import Settings

_PROCESS_S = 0.5
"""Of timed runs in one process: more of them would tell little, as processes differ more than the runs of one."""
_LEAST_PROCESSES, _MOST_PROCESSES = 2, 30
_BLOCK_S = 0.1
_LEAST_BLOCKS = 5
_SUSTAINED_BLOCK_S = 1.0


@dataclass(frozen=True)
class Plan:
    """Of one subject."""

    processes: int
    blocks: int
    """In each process."""
    block_s: float


def of(settings: Settings) -> Plan:
    """The plan for a device whose processes stay alive between blocks."""
    if settings.mode == "sustained":
        return Plan(
            processes=1, blocks=max(_LEAST_BLOCKS, round(settings.seconds / _SUSTAINED_BLOCK_S)), block_s=_SUSTAINED_BLOCK_S
        )
    processes = min(max(_LEAST_PROCESSES, round(settings.seconds / _PROCESS_S)), _MOST_PROCESSES)
    return Plan(processes, max(_LEAST_BLOCKS, round(settings.seconds / processes / _BLOCK_S)), _BLOCK_S)
