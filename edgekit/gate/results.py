"""What a gate is given, read: measurements, evaluations and artifacts, each a `Result`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit import artifact
from edgekit.evaluation import results as evaluation_files
from edgekit.evaluation.accuracy import Against
from edgekit.inspection import FORMATS
from edgekit.profiling import results as results_files
from edgekit.profiling import static
from edgekit.profiling.measurement import Measurement, Model, Process
from edgekit.profiling.subject import describe


@dataclass(frozen=True)
class Result:
    """What is known of one subject."""

    subject: str
    source: str
    """The file or directory it was read from."""
    model: Model
    measurement: Measurement | None = None
    """Null for what was not run on a device."""
    energy_j: tuple[float, ...] = ()
    """Gross, of one run, of every job that measured it."""
    against: Against | None = None
    """What was lost against the reference it was evaluated with; null for what was not evaluated."""

    @property
    def processes(self) -> tuple[Process, ...]:
        """Those that measured it."""
        return self.measurement.processes if self.measurement else ()

    @property
    def batch(self) -> int | None:
        """How many examples it was run on at once: as was asked for, else the first axis of its first input. Null for what was
        not run, and where that is not known."""
        if self.measurement is None:
            return None
        conditions = self.measurement.conditions
        first = next(iter((conditions.input_shapes or {}).values()), ())
        return conditions.batch or next(iter(first), None)

    def named(self, selector: str) -> tuple[object, ...]:
        """Every value with which a budget's `selector` means it; none where the selector does not apply: what was not run has
        no device, no threads and no batch."""
        if selector == "subject":
            return self.subject, Path(self.subject).name
        if selector not in ("device", "threads", "batch"):
            return (getattr(self.model, "name" if selector == "model" else selector),)
        if self.measurement is None:
            return ()
        fingerprint = self.measurement.fingerprint
        if selector == "threads":
            return (fingerprint.threads,)
        if selector == "batch":
            return (self.batch,)
        return fingerprint.device, fingerprint.device.partition(":")[0], fingerprint.hardware


def of_measurement(measurement: Measurement, source: str) -> Result:
    """The result that a measurement is."""
    energy = measurement.energy.gross_j
    return Result(measurement.subject, source, measurement.model, measurement, () if energy is None else (energy,))


def read(paths: Iterable[Path]) -> list[Result]:
    """The results in files, artifacts, and folders of both. Raises InputError for what is missing, damaged or empty."""
    return [result for path in paths for result in _read(path)]


def _read(path: Path) -> Iterator[Result]:
    if is_model(path):
        yield unmeasured(path)
    elif not path.is_dir():
        yield from _in_file(path)
    else:
        artifacts = sorted(manifest.parent for manifest in path.glob(f"*/{artifact.MANIFEST}"))
        for one in artifacts:
            yield unmeasured(one)
        for one in sorted(path.glob("*.json")) if artifacts else results_files.files(path):
            yield from _in_file(one)


def is_model(path: Path) -> bool:
    """Whether it is an artifact or a model file."""
    return (path / artifact.MANIFEST).is_file() or (path.suffix in FORMATS and path.exists())


def unmeasured(given: str | Path) -> Result:
    """What an artifact, a model file or a model's name tells without being run. Raises ArtifactError for a damaged artifact."""
    subject = describe(given)
    return Result(subject.name, subject.name, static.completed(subject.model, subject.model_file))


def _in_file(path: Path) -> Iterator[Result]:
    evaluations = evaluation_files.read(path)
    if evaluations is None:
        for measurement in results_files.read(path):
            yield of_measurement(measurement, str(path))
        return
    for one in evaluations:
        if one.against is not None:  # a reference lost nothing: it is what others are held to
            yield Result(one.subject, str(path), one.model, against=one.against)
