"""Classifies a photograph with an artifact, preprocessing it as the manifest says."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit import runtimes
from edgekit.artifact import Artifact, Preprocessing
from edgekit.errors import InputError, UsageError
from edgekit.runtimes import Array

if TYPE_CHECKING:
    import PIL.Image


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
    from PIL import Image

    picture = _upright(photo)
    shorter = round(size / how.crop_fraction)
    scale = shorter / min(picture.size)
    width, height = (max(shorter, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling[how.interpolation.upper()])
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.asarray(picture.crop((left, top, left + size, top + size)), dtype=np.float32) / 255
    normalised = (pixels - np.array(how.mean, np.float32)) / np.array(how.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def _upright(photo: Path) -> PIL.Image.Image:
    """The photograph in RGB, turned as its EXIF data says; transparency is dropped, as in training. Raises InputError."""
    from PIL import Image, ImageOps

    try:
        # Pillow warns of sizes below its limit, and of palettes: nothing a user can act on.
        with warnings.catch_warnings(action="ignore"), Image.open(photo) as opened:
            picture = ImageOps.exif_transpose(_central(opened))
            if picture.mode.startswith("I;16"):
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            if picture.mode in ("I", "F"):
                raise InputError(
                    f"{photo} holds numbers, not colours",
                    cause=f"its pixels are of Pillow's mode {picture.mode}, which has no range",
                    next_step="save it with 8 bits a colour",
                )
            return picture.convert("RGB")
    except FileNotFoundError:
        raise InputError(f"{photo} does not exist", next_step="check the path") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{photo} is too large", cause=str(error), next_step="give a smaller image") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's readers raise all three for damaged files
        cause = "it is a folder" if photo.is_dir() else str(error)
        raise InputError(f"{photo} is no readable image", cause=cause, next_step="give a JPEG or PNG") from error


def _central(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture without the ends of an extreme panorama: they would be cropped anyway, after a resize that takes
    gigabytes."""
    longest = 8 * min(picture.size)
    if max(picture.size) <= longest:
        return picture
    width, height = (min(side, longest) for side in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _labels(name: str | None) -> list[str]:
    if name is None:
        return []
    lines = (Path(__file__).parent / "labels" / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[1] for line in lines]
