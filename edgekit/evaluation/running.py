"""Runs all subjects on one image after another: whenever that ends, all have seen the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgekit.datasets import Dataset, Sample
from edgekit.errors import InputError
from edgekit.evaluation import scores
from edgekit.evaluation.journal import Journal, Row
from edgekit.evaluation.labels import Labels
from edgekit.evaluation.lineup import Lane
from edgekit.evaluation.scores import Score
from edgekit.runtimes import Array


def run(
    lanes: Sequence[Lane],
    labels: Sequence[Labels],
    dataset: Dataset,
    images: Sequence[int],
    journal: Journal,
    progress: Callable[[int, int], None],
) -> None:
    """Score every subject on those of `images` that the journal lacks; it is kept as they come in. `labels` are each lane's.

    Raises what a damaged image raises, and InputError where a reference's output is not finite: nothing compares with that.
    """
    together = max(lane.subject.batch for lane in lanes)
    done = len(journal.rows)
    progress(done, len(images))
    for start in range(done, len(images), together):
        chosen = images[start : start + together]
        samples = [dataset[image] for image in chosen]
        outputs = {lane: lane.subject.logits(samples) for lane in lanes}
        columns = [_scores(lane, outputs, own, chosen, samples) for lane, own in zip(lanes, labels, strict=True)]
        journal.append([Row(image, found) for image, found in zip(chosen, zip(*columns, strict=True), strict=True)])
        progress(start + len(chosen), len(images))


def _scores(
    lane: Lane, outputs: Mapping[Lane, Array], labels: Labels, images: Sequence[int], samples: Sequence[Sample]
) -> list[Score]:
    """A lane's scores of these images."""
    expected = None if lane.reference is None else outputs[lane.reference]
    if expected is not None and not np.isfinite(expected).all():
        assert lane.reference is not None
        first = samples[int(np.argmax(~np.isfinite(expected).all(axis=1)))]
        raise InputError(
            f"{lane.reference.subject.name} gives NaN or infinity for {first.name}",
            cause="nothing can be compared with that",
            next_step="give another --reference, or look into its weights",
        )
    return [
        scores.score(logits, labels.label(image), None if expected is None else expected[place])
        for place, (image, logits) in enumerate(zip(images, outputs[lane], strict=True))
    ]
