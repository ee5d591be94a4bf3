"""Which subjects are run, and which of them each is compared with."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgekit.errors import ModelError, UsageError
from edgekit.evaluation import subjects
from edgekit.evaluation.subjects import Subject


@dataclass(frozen=True, eq=False)
class Lane:
    """A subject, and what it is compared with; None for a reference, and for what has none."""

    subject: Subject
    reference: Lane | None = None


@dataclass
class Lineup:
    """The lanes, each after its reference."""

    lanes: list[Lane] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Why an artifact is not compared with what it was made from."""

    def find(self, subject: Subject) -> Lane | None:
        """The lane of the same model under the same name, run in the same way."""
        alike = (lane for lane in self.lanes if lane.subject.identity == subject.identity)
        return next((lane for lane in alike if lane.subject.name == subject.name), None)

    def add(self, subject: Subject, reference: Lane | None) -> Lane:
        """A lane more, the last, under a name of its own: two checkpoints may well be called `weights.pth`. Raises UsageError
        where the two score different classes."""
        if any(lane.subject.name == subject.name for lane in self.lanes):
            distinct = hashlib.sha256(subject.identity.encode()).hexdigest()[:8]
            subject = dataclasses.replace(subject, name=f"{subject.name} ({distinct})")
        if reference is not None:
            subject = subject.described_as(reference.subject)
            if subject.classes != reference.subject.classes:
                raise UsageError(
                    f"{subject.name} and {reference.subject.name} cannot be compared",
                    cause=f"one scores {subject.classes} classes, the other {reference.subject.classes}",
                    next_step="give another --reference, or evaluate each by itself",
                )
        lane = Lane(subject, reference)
        self.lanes.append(lane)
        return lane


def line_up(names: Sequence[str], reference: str | None, held: contextlib.ExitStack) -> Lineup:
    """Open the subjects and their references; `held` closes them.

    Each is compared with `reference` where it is given; else an artifact with the eager fp32 model that its recipe tells, where
    that is still there; else with what the first subject is compared with, or is. Raises what opening raises, and UsageError
    where two that are to be compared score different classes.
    """
    made = Lineup()
    first = None if reference is None else made.add(_opened(reference, held), None)
    for name in dict.fromkeys(names):
        if name == reference:
            continue
        subject = _opened(name, held)
        own = _source(made, subject, held) if reference is None else None
        lane = made.find(subject) or made.add(subject, own or first)
        first = first or own or lane
    return made


def _opened(name: str, held: contextlib.ExitStack) -> Subject:
    subject = subjects.open(name)
    held.callback(subject.session.close)
    return subject


def _source(made: Lineup, subject: Subject, held: contextlib.ExitStack) -> Lane | None:
    """The lane of what an artifact was made from; None for anything else, and where that is gone."""
    if subject.artifact is None:
        return None
    try:
        source = subjects.made_from(subject.artifact)
    except ModelError as error:
        made.notes.append(f"{subject.name} is not compared with the model it was made from: {error.cause}")
        return None
    held.callback(source.session.close)
    return made.find(source) or made.add(source, None)
