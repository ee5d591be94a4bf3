"""Evaluates subjects on data: from their names to what is known of their accuracy."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import edgekit
from edgekit import datasets, rebuild
from edgekit.datasets import Dataset
from edgekit.errors import EdgekitError, Interrupted, UsageError
from edgekit.evaluation import data, running, summary
from edgekit.evaluation import labels as labelling
from edgekit.evaluation.accuracy import Accuracy, Data
from edgekit.evaluation.journal import Journal, Row, beside
from edgekit.evaluation.labels import Labels
from edgekit.evaluation.lineup import Lane, line_up
from edgekit.evaluation.scores import Scores
from edgekit.profiling import results
from edgekit.quantize import sensitivity as layers
from edgekit.quantize.sensitivity import Sensitivity
from edgekit.weights import SEEDED

_FIVE = 5


@dataclass(frozen=True)
class Evaluation:
    """Some subjects, evaluated on the same images."""

    accuracies: tuple[Accuracy, ...]
    """References first, those that nobody named among them."""
    notes: tuple[str, ...]
    """What a reader must know of them."""


def evaluate(
    subjects: Sequence[str | Path],
    path: Path,
    *,
    reference: str | Path | None = None,
    limit: int | None = None,
    output: Path | None = None,
    resume: bool = False,
    sensitivity: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Evaluate `subjects` on the test split of the data at `path`, or on `limit` samples drawn from it.

    With `sensitivity`, quantized artifacts also tell what each of their layers costs, on some of their calibration samples.
    `output` is the results file; the journal beside it lets `resume` go on with a run that was cut short. Raises UsageError and
    InputError for subjects and data that do not fit, OutputError for what cannot be written, and Interrupted, whose `partial`
    holds the evaluations of the images seen until then, for whatever ends the run.
    """
    if resume and output is None:
        raise UsageError("there is nothing to go on with", next_step="give the --output of the run that was cut short")
    dataset = datasets.open(path, "test")
    with contextlib.ExitStack() as held:
        lineup = line_up(list(map(str, subjects)), None if reference is None else str(reference), held)
        _require_a_question(dataset, lineup.lanes)
        found = _sensitivities(lineup.lanes) if sensitivity else {}
        run = _Run(path, dataset, lineup.lanes, [_labels(dataset, lane) for lane in lineup.lanes], found)
        images = data.order(len(dataset))[:limit]
        journal = held.enter_context(Journal(None if output is None else beside(output), run.about, resume=resume))
        try:
            running.run(run.lanes, run.labels, dataset, images, journal, progress)
        except (EdgekitError, KeyboardInterrupt) as error:
            if not journal.rows:
                raise
            raise _interrupted(error, run.accuracies(journal.rows), journal, len(images)) from error
        made = Evaluation(run.accuracies(journal.rows[: len(images)]), (*lineup.notes, *_doubts(lineup.lanes, dataset, path)))
        if output is not None:
            results.write(output, made.accuracies)
        journal.finish()
        return made


def _require_a_question(dataset: Dataset, lanes: Sequence[Lane]) -> None:
    if dataset.labels is None and not any(lane.reference for lane in lanes):
        raise UsageError(
            f"there is nothing to tell of {lanes[0].subject.name}",
            cause="the data have no labels, and it is compared with nothing",
            next_step="give labelled data, or a --reference",
        )


def _doubts(lanes: Sequence[Lane], dataset: Dataset, path: Path) -> Iterator[str]:
    """What must be said of models that nobody trained, and of those that have seen the data."""
    untrained = [lane.subject.name for lane in lanes if lane.subject.weights == SEEDED]
    if untrained:
        yield f"weights were initialised deterministically (no --weights), not trained: {', '.join(untrained)}"
    for lane in lanes:
        made = lane.subject.artifact
        calibration = made and made.manifest.quantization and made.manifest.quantization.calibration
        if calibration and calibration.source == path.name and dataset.whole:
            yield f"{lane.subject.name} was calibrated on {path.name}, which has no splits: it has seen some of these samples"


def _sensitivities(lanes: Sequence[Lane]) -> dict[Lane, Sensitivity]:
    """Of the quantized artifacts among them. Raises UsageError where there are none."""
    made = {
        lane: lane.subject.artifact for lane in lanes if lane.subject.artifact and lane.subject.artifact.manifest.quantization
    }
    if not made:
        raise UsageError(
            "--sensitivity has nothing to look at",
            cause="none of the subjects is an artifact that edgekit quantized",
            next_step="give one that was exported with --quantize, or leave --sensitivity out",
        )
    return {lane: layers.measure(*rebuild.quantization_of(artifact)) for lane, artifact in made.items()}


def _labels(dataset: Dataset, lane: Lane) -> Labels:
    return labelling.of(dataset, lane.subject.class_list, lane.subject.classes, lane.subject.name)


def _interrupted(error: BaseException, done: Sequence[Accuracy], journal: Journal, images: int) -> Interrupted:
    """The error with what was found until then, and how to go on."""
    interrupted = Interrupted(error, done)
    kept = f"{len(journal.rows)} of {images} images were done"
    way = f"they are in {journal.path}, and --resume goes on" if journal.path else "with --output, --resume could go on"
    interrupted.next_step = f"{interrupted.next_step}; {kept}: {way}".removeprefix("; ")
    return interrupted


class _Run:
    """What one call evaluates."""

    def __init__(
        self,
        path: Path,
        dataset: Dataset,
        lanes: Sequence[Lane],
        labels: Sequence[Labels],
        sensitivities: Mapping[Lane, Sensitivity],
    ) -> None:
        self.lanes, self.labels, self._sensitivities = lanes, labels, sensitivities
        self._path, self._dataset, self._sha256 = path, dataset, data.sha256(path)
        self._job, self._started = uuid.uuid4().hex, datetime.now(UTC).isoformat(timespec="seconds")

    @property
    def about(self) -> dict[str, str]:
        """All that the scores depend on."""
        beside = {lane.subject.name: lane.reference.subject.name if lane.reference else "none" for lane in self.lanes}
        identities = {lane.subject.name: lane.subject.identity for lane in self.lanes}
        return {"the data": self._sha256, **{name: f"{identities[name]}, against {beside[name]}" for name in identities}}

    def accuracies(self, rows: Sequence[Row]) -> tuple[Accuracy, ...]:
        """What these images tell of every subject."""
        scores = {lane: Scores.of([row.scores[place] for row in rows]) for place, lane in enumerate(self.lanes)}
        images = [row.image for row in rows]
        found = self._dataset.labels is not None
        on = Data(str(self._path), images=len(rows), of=len(self._dataset), labelled=found, sha256=self._sha256)
        return tuple(
            self._accuracy(lane, labels, scores, images, on) for lane, labels in zip(self.lanes, self.labels, strict=True)
        )

    def _accuracy(self, lane: Lane, labels: Labels, scores: Mapping[Lane, Scores], images: Sequence[int], on: Data) -> Accuracy:
        own, subject, against = scores[lane], lane.subject, None
        if lane.reference is not None:
            meant = None if labels.of is None else labels.of[images]
            against = summary.against(own, scores[lane.reference], meant, lane.reference.subject.name, labels.names)
        return Accuracy(
            subject=subject.name,
            model=subject.model,
            runtime=subject.session.runtime,
            job=self._job,
            started_at=self._started,
            edgekit=edgekit.__version__,
            data=on,
            top1_percent=summary.share_percent(own.within(1)) if on.labelled else None,
            top5_percent=summary.share_percent(own.within(_FIVE)) if on.labelled and subject.classes > _FIVE else None,
            not_finite=int((~own.finite).sum()),
            against=against,
            sensitivity=self._sensitivities.get(lane),
        )
