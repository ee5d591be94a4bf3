"""Classifies a photograph with an artifact, preprocessing it as the manifest says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit import runtimes
from edgekit.artifact import Artifact, Preprocessing
from edgekit.errors import InputError, UsageError
from edgekit.runtimes import Array


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
    array = preprocess(photo, image.preprocessing, image.shape[-1]).repeat(image.shape[0], axis=0)
    with runtimes.open(artifact.directory) as session:
        scores = session.run({image.name: array})[logits.name][0].astype(np.float64)
    odds = np.exp(scores - scores.max())
    probabilities = odds / odds.sum()
    names = _labels(artifact.manifest.model.labels)
    likeliest = np.argsort(-probabilities)[:count]
    return [Prediction(int(i), names[i] if i < len(names) else f"class {i}", float(probabilities[i])) for i in likeliest]


def preprocess(photo: Path, how: Preprocessing, size: int) -> Array:
    """The photograph as a float32 array [1, 3, size, size]: resized, centre-cropped, scaled and normalised."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(photo) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except FileNotFoundError:
        raise InputError(f"{photo} does not exist", next_step="check the path") from None
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{photo} is no readable image", cause=str(error), next_step="give a JPEG or PNG") from error
    shorter = round(size / how.crop_fraction)
    scale = shorter / min(picture.size)
    width, height = (max(shorter, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling[how.interpolation.upper()])
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.asarray(picture.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
    normalised = (pixels - np.array(how.mean, np.float32)) / np.array(how.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def _labels(name: str | None) -> list[str]:
    if name is None:
        return []
    lines = (Path(__file__).parent / "labels" / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[1] for line in lines]
