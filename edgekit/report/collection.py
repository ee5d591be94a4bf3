"""The measurements of a report, which are shown in full and which are the past, its evaluations, and what each is called."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

from edgekit.evaluation.accuracy import Accuracy, Data
from edgekit.profiling.measurement import Fingerprint, Model
from edgekit.report.contest import Contest, contests
from edgekit.report.entry import Entry, Evaluated
from edgekit.report.quantities import counted

LONGEST_LABEL = 40


@dataclass(frozen=True)
class Collection:
    """All measurements of a report."""

    shown: tuple[Entry, ...]
    """In the order given: everything in the files given by name, and of folders the newest job of each series."""
    past: tuple[Entry, ...]
    """The others in those folders, oldest first; the trend shows them."""
    evaluated: tuple[Evaluated, ...] = ()
    """Of each subject beside each reference on the same data, the newest."""

    @functools.cached_property
    def contests(self) -> tuple[Contest, ...]:
        """How those shown compare. Takes a bootstrap each, hence once."""
        return contests(self.shown)


def collect(named: Iterable[Entry], from_folders: Iterable[Entry], evaluated: Iterable[Evaluated] = ()) -> Collection:
    """Sort entries into what is shown and what is past, leave older evaluations of the same out, and name them all."""
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
    return Collection(_labelled(shown), tuple(past), _newest(evaluated))


def _time(entry: Entry) -> datetime:
    return entry.started or datetime.min.replace(tzinfo=UTC)


def _newest(evaluated: Iterable[Evaluated]) -> tuple[Evaluated, ...]:
    """The newest of those that evaluate the same, each with a label of its own."""
    newest: dict[tuple[object, ...], Evaluated] = {}
    for one in sorted(evaluated, key=lambda one: one.accuracy.started_at):
        accuracy = one.accuracy
        beside = accuracy.against and accuracy.against.reference
        newest[accuracy.subject, accuracy.model.sha256, beside, accuracy.data.sha256] = one
    kept = list(newest.values())
    ends = _ends(one.accuracy.subject for one in kept)
    labels = [_with_target(ends[one.accuracy.subject], one.accuracy.model) for one in kept]
    for qualifier in _OF_EVALUATED:
        labels = _set_apart(labels, [qualifier(one.accuracy) for one in kept])
    return tuple(dataclasses.replace(one, label=label) for one, label in zip(kept, _short(labels), strict=True))


def _labelled(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries, each with a label of its own: the end of its subject's path, and what sets it apart from the others."""
    ends = _ends(entry.measurement.subject for entry in entries)
    labels = [_with_target(ends[entry.measurement.subject], entry.measurement.model) for entry in entries]
    labels = [f"{label}{_elsewhere(entry)}" for label, entry in zip(labels, entries, strict=True)]
    for qualifier in _QUALIFIERS:
        labels = _set_apart(labels, [qualifier(entry) for entry in entries])
    return tuple(dataclasses.replace(entry, label=label) for entry, label in zip(entries, _short(labels), strict=True))


def _ends(subjects: Iterable[str]) -> dict[str, str]:
    """Of each of these paths, the shortest end that tells it from the others."""
    parts = {subject: PurePath(subject).parts or (subject,) for subject in sorted(set(subjects))}
    ends = {}
    for subject, own in parts.items():
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts.values()) > 1:
            length += 1
        ends[subject] = "/".join(own[-length:])
    return ends


def _with_target(name: str, model: Model) -> str:
    return name if model.target in name else f"{name} {model.target}"


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


def samples(data: Data) -> str:
    """On what it was evaluated, and on how much of it."""
    some = counted(data.images, "sample") if data.images == data.of else f"{data.images:,} of {counted(data.of, 'sample')}"
    return f"{elided(printable(PurePath(data.name).name))} ({some})"


def _batch(entry: Entry) -> str:
    batch = entry.measurement.conditions.batch
    return "its own batch" if batch is None else f"batch {batch}"


def _shapes(entry: Entry) -> str:
    shapes = entry.measurement.conditions.input_shapes or {}
    return " ".join("x".join(map(str, shape)) for shape in shapes.values()) or "unknown input"


def _precision(model: Model) -> str:
    return model.precision or "unknown precision"


def _quantization(model: Model) -> str:
    return model.quantization or "not quantized"


_QUALIFIERS: tuple[Callable[[Entry], str], ...] = (
    lambda entry: _precision(entry.measurement.model),
    lambda entry: _quantization(entry.measurement.model),
    lambda entry: machine(entry.measurement.fingerprint),
    lambda entry: threads(entry.measurement.fingerprint),
    _batch,
    _shapes,
    lambda entry: entry.measurement.conditions.mode,
    lambda entry: entry.measurement.fingerprint.runtime,
)


_OF_EVALUATED: tuple[Callable[[Accuracy], str], ...] = (
    lambda accuracy: _precision(accuracy.model),
    lambda accuracy: _quantization(accuracy.model),
    lambda accuracy: PurePath(accuracy.data.name).name,
    lambda accuracy: accuracy.runtime,
)


def _set_apart(labels: Sequence[str], qualifiers: Sequence[str]) -> list[str]:
    """The labels, with the qualifier wherever equal labels have different ones."""
    meant: dict[str, set[str]] = {}
    for label, qualifier in zip(labels, qualifiers, strict=True):
        meant.setdefault(label, set()).add(qualifier)
    return [
        f"{label}, {qualifier}" if len(meant[label]) > 1 else label for label, qualifier in zip(labels, qualifiers, strict=True)
    ]


def _short(labels: Iterable[str]) -> list[str]:
    """The labels as they are printed, equal ones numbered from the second on."""
    seen: Counter[str] = Counter()
    numbered = []
    for label in (elided(printable(label)) for label in labels):
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
