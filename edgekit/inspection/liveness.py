"""How much memory the results of operators take at once, by their lifetimes in program order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """An operator: what it reads, and the bytes of each of its results."""

    name: str
    reads: Collection[str]
    writes: Mapping[str, int]


def peak(steps: Sequence[Step], inputs: Mapping[str, int], outputs: Collection[str]) -> tuple[int, str]:
    """The most bytes alive at once, and the step at which they are.

    A value lives from its step, an input from the start, to the last step that reads it, an output to the end; a step's
    operands and results live together. Each has memory of its own, also where a runtime would give a view.
    """
    last = {name: index for index, step in enumerate(steps) for name in step.reads}
    alive = {name: size for name, size in inputs.items() if name in last or name in outputs}
    held = sum(alive.values())
    most, at = held, ""
    for index, step in enumerate(steps):
        alive.update(step.writes)
        held += sum(step.writes.values())
        if held > most:
            most, at = held, step.name
        for name in {*step.reads, *step.writes}:
            if last.get(name, -1) <= index and name not in outputs:
                held -= alive.pop(name, 0)
    return most, at
