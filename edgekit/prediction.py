"""Classifies a photograph with an artifact, preprocessing it as the manifest says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit import class_lists, photographs, runtimes
from edgekit.artifact import Artifact
from edgekit.errors import UsageError


@dataclass(frozen=True)
class Prediction:
    """A class and the softmax probability the model gives it."""

    index: int
    label: str
    probability: float


def predict(artifact: Artifact, photo: Path, count: int) -> list[Prediction]:
    """The `count` likeliest classes. Raises UsageError for an artifact that classifies no images, InputError for a file
    that is no image."""
    image, logits = artifact.manifest.inputs[0], artifact.manifest.outputs[0]
    if image.preprocessing is None or len(logits.shape) != 2:
        raise UsageError(
            f"{artifact.directory} does not say how a photograph becomes its input",
            cause="its manifest has no preprocessing: it was exported from a module of your own",
            next_step="preprocess yourself and use edgekit.open(artifact).run({name: array})",
        )
    array = photographs.preprocess(photographs.read(photo), image.preprocessing, image.shape[-1])
    with runtimes.open(artifact.directory) as session:
        scores = session.run({image.name: array.repeat(image.shape[0], axis=0)})[logits.name][0].astype(np.float64)
    odds = np.exp(scores - scores.max())
    probabilities = odds / odds.sum()
    names = [one.label for one in class_lists.read(artifact.manifest.model.labels)]
    likeliest = np.argsort(-probabilities)[:count]
    return [Prediction(int(i), names[i] if i < len(names) else f"class {i}", float(probabilities[i])) for i in likeliest]
