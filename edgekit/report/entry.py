"""Measurements and evaluations as a report holds them: with their files, their names, and what must be said of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath

from edgekit.evaluation.accuracy import Accuracy
from edgekit.profiling.measurement import Measurement


@dataclass(frozen=True)
class Evaluated:
    """An evaluation with the file it was read from and its name in tables and figures."""

    accuracy: Accuracy
    file: Path
    label: str = ""
    """Short, and unlike that of any other evaluation shown."""


@dataclass(frozen=True)
class Entry:
    """A measurement with the file it was read from and its name in tables and figures."""

    measurement: Measurement
    file: Path
    label: str = ""
    """Short, and unlike that of any other entry shown in full."""

    @property
    def marks(self) -> tuple[str, ...]:
        """What must be said wherever its figures appear."""
        said = {
            self.measurement.provenance: self.measurement.provenance != "measured",
            "reference timing": self.measurement.reference_timing,
            "interrupted": self.measurement.interrupted is not None,
        }
        return tuple(mark for mark, holds in said.items() if holds)

    @property
    def marked(self) -> str:
        """The label and the marks in one line, for figures and sentences."""
        return f"{self.label} ({', '.join(self.marks)})" if self.marks else self.label

    @property
    def started(self) -> datetime | None:
        """When its job began; None for a time that is none."""
        try:
            when = datetime.fromisoformat(self.measurement.started_at)
        except ValueError:
            return None
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)

    @property
    def series(self) -> tuple[object, ...]:
        """What stays the same when the same thing is measured again, on the same device and with the same settings."""
        model, fingerprint = self.measurement.model, self.measurement.fingerprint
        conditions = self.measurement.conditions
        shapes = tuple(sorted((conditions.input_shapes or {}).items()))
        return (
            PurePath(self.measurement.subject).name,
            (model.name, model.target, model.precision, model.quantization),
            (fingerprint.device, fingerprint.hardware, fingerprint.threads),
            (conditions.mode, conditions.batch, shapes),
        )
