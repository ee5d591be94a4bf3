"""The measurements of a report: which are shown in full and which are the past, and what each is called."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

from edgekit.profiling.measurement import Fingerprint, Measurement
from edgekit.report.contest import Contest, contests
from edgekit.report.entry import Entry
from edgekit.report.quantities import counted

LONGEST_LABEL = 40


@dataclass(frozen=True)
class Collection:
    """All measurements of a report."""

    shown: tuple[Entry, ...]
    """In the order given: everything in the files given by name, and of folders the newest job of each series."""
    past: tuple[Entry, ...]
    """The others in those folders, oldest first; the trend shows them."""

    @functools.cached_property
    def contests(self) -> tuple[Contest, ...]:
        """How those shown compare. Takes a bootstrap each, hence once."""
        return contests(self.shown)


def collect(named: Iterable[Entry], from_folders: Iterable[Entry]) -> Collection:
    """Sort entries into what is shown and what is past, and name them."""
    shown = list(named)
    series = {entry.series for entry in shown}
    newest: dict[tuple[object, ...], Entry] = {}
    folder = sorted(from_folders, key=_time)
    for entry in folder:
        newest[entry.series] = entry
    past = []
    for entry in folder:
        last = newest[entry.series]
        if entry.series not in series and entry.measurement.job == last.measurement.job and entry.started == last.started:
            shown.append(entry)
        else:
            past.append(entry)
    return Collection(_labelled(shown), tuple(past))


def _time(entry: Entry) -> datetime:
    return entry.started or datetime.min.replace(tzinfo=UTC)


def _labelled(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries, each with a label of its own: the end of its subject's path, and what sets it apart from the others."""
    subjects = sorted({entry.measurement.subject for entry in entries})
    ends = dict(zip(subjects, _ends(subjects), strict=True))
    labels = [_with_target(ends[entry.measurement.subject], entry.measurement) for entry in entries]
    labels = [f"{label}{_elsewhere(entry)}" for label, entry in zip(labels, entries, strict=True)]
    for qualifier in _QUALIFIERS:
        labels = _set_apart(labels, [qualifier(entry) for entry in entries])
    labels = _numbered([elided(printable(label)) for label in labels])
    return tuple(dataclasses.replace(entry, label=label) for entry, label in zip(entries, labels, strict=True))


def _ends(subjects: Sequence[str]) -> list[str]:
    """The shortest ends of these paths that tell them apart."""
    parts = [PurePath(subject).parts or (subject,) for subject in subjects]
    ends = []
    for own in parts:
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        ends.append("/".join(own[-length:]))
    return ends


def _with_target(name: str, measurement: Measurement) -> str:
    return name if measurement.model.target in name else f"{name} {measurement.model.target}"


def _elsewhere(entry: Entry) -> str:
    """Of what was not measured on the processor edgekit ran on: where."""
    fingerprint = entry.measurement.fingerprint
    return "" if fingerprint.device == "host" else f", {fingerprint.gpu or fingerprint.hardware or fingerprint.device}"


def machine(fingerprint: Fingerprint) -> str:
    """What a measurement was made on, as nearly as it is known."""
    return fingerprint.gpu or fingerprint.hardware or fingerprint.cpu or fingerprint.device


def threads(fingerprint: Fingerprint) -> str:
    """How many threads computed."""
    return "its own threads" if fingerprint.threads is None else counted(fingerprint.threads, "thread")


def _batch(entry: Entry) -> str:
    batch = entry.measurement.conditions.batch
    return "its own batch" if batch is None else f"batch {batch}"


def _shapes(entry: Entry) -> str:
    shapes = entry.measurement.conditions.input_shapes or {}
    return " ".join("x".join(map(str, shape)) for shape in shapes.values()) or "unknown input"


_QUALIFIERS: tuple[Callable[[Entry], str], ...] = (
    lambda entry: entry.measurement.model.precision or "unknown precision",
    lambda entry: entry.measurement.model.quantization or "not quantized",
    lambda entry: machine(entry.measurement.fingerprint),
    lambda entry: threads(entry.measurement.fingerprint),
    _batch,
    _shapes,
    lambda entry: entry.measurement.conditions.mode,
    lambda entry: entry.measurement.fingerprint.runtime,
)


def _set_apart(labels: Sequence[str], qualifiers: Sequence[str]) -> list[str]:
    """The labels, with the qualifier wherever equal labels have different ones."""
    meant: dict[str, set[str]] = {}
    for label, qualifier in zip(labels, qualifiers, strict=True):
        meant.setdefault(label, set()).add(qualifier)
    return [
        f"{label}, {qualifier}" if len(meant[label]) > 1 else label for label, qualifier in zip(labels, qualifiers, strict=True)
    ]


def _numbered(labels: Sequence[str]) -> list[str]:
    """The labels, equal ones numbered from the second on."""
    seen: Counter[str] = Counter()
    numbered = []
    for label in labels:
        seen[label] += 1
        numbered.append(label if seen[label] == 1 else f"{label} #{seen[label]}")
    return numbered


def elided(label: str) -> str:
    """A long label without its middle: ends tell more than beginnings."""
    if len(label) <= LONGEST_LABEL:
        return label
    return f"{label[: LONGEST_LABEL // 3]}…{label[-(LONGEST_LABEL * 2 // 3 - 1) :]}"


def printable(text: str) -> str:
    """The text without characters that neither XML nor a reader can take."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
