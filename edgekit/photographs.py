"""Photographs: read from a file, and made a model's input as its manifest says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from edgekit.artifact import Preprocessing
from edgekit.errors import InputError

if TYPE_CHECKING:
    import PIL.Image

    from edgekit.runtimes import Array

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Of the files in a folder that are taken for photographs, in lower case."""


def preprocess(picture: PIL.Image.Image, how: Preprocessing, size: int) -> Array:
    """The picture as a float32 array [1, 3, size, size]: resized, centre-cropped, scaled and normalised."""
    pixels = np.asarray(cropped(picture, how, size), dtype=np.float32) / 255
    normalised = (pixels - np.array(how.mean, np.float32)) / np.array(how.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def cropped(picture: PIL.Image.Image, how: Preprocessing, size: int) -> PIL.Image.Image:
    """The picture's centre, `size` by `size`: its shorter side is first made `size / crop_fraction` long."""
    from PIL import Image

    shorter = round(size / how.crop_fraction)
    scale = shorter / min(picture.size)
    width, height = (max(shorter, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling[how.interpolation.upper()])
    left, top = (width - size) // 2, (height - size) // 2
    return picture.crop((left, top, left + size, top + size))


def read(photo: Path | IO[bytes], name: str | None = None) -> PIL.Image.Image:
    """The photograph in RGB, turned as its EXIF data says; transparency is dropped, as in training. Errors call it `name`.
    Raises InputError."""
    from PIL import Image, ImageOps

    called = name or str(photo)
    try:
        # Pillow warns of sizes below its limit, and of palettes: nothing a user can act on.
        with warnings.catch_warnings(action="ignore"), Image.open(photo) as opened:
            picture = ImageOps.exif_transpose(_central(opened))
            if picture.mode.startswith("I;16"):
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            if picture.mode in ("I", "F"):
                raise InputError(
                    f"{called} holds numbers, not colours",
                    cause=f"its pixels are of Pillow's mode {picture.mode}, which has no range",
                    next_step="save it with 8 bits a colour",
                )
            return picture.convert("RGB")
    except FileNotFoundError:
        raise InputError(f"{called} does not exist", next_step="check the path") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{called} is too large", cause=str(error), next_step="give a smaller image") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's readers raise all three for damaged files
        cause = "it is a folder" if isinstance(photo, Path) and photo.is_dir() else str(error)
        raise InputError(f"{called} is no readable image", cause=cause, next_step="give a JPEG or PNG") from error


def _central(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture without the ends of an extreme panorama: they would be cropped anyway, after a resize that takes
    gigabytes."""
    longest = 8 * min(picture.size)
    if max(picture.size) <= longest:
        return picture
    width, height = (min(side, longest) for side in picture.size)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
