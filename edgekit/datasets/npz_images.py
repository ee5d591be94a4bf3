"""An `.npz` of photographs as arrays: `images` uint8 [N, H, W, 3], and where they are known `labels` [N] and `classes`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.datasets import _npz
from edgekit.datasets._dataset import Dataset, Numbered, Split, checked_labels
from edgekit.errors import InputError

_IMAGES = "images"


def recognises(path: Path) -> bool:
    """Whether its `images` are of bytes."""
    return _npz.is_npz(path) and (found := _npz.headers(path).get(_IMAGES)) is not None and found.dtype == np.uint8


def open(path: Path, split: Split) -> Dataset:
    """Its photographs: there are no splits."""
    from PIL import Image

    found = _npz.headers(path)
    shape = found[_IMAGES].shape
    if len(shape) != 4 or shape[-1] != 3 or not all(shape):
        raise InputError(
            f"{path}: images are {list(shape)}",
            cause="photographs are [N, H, W, 3], in RGB, and at least one",
            next_step="write them so; arrays that are ready for a model are called by the names of its inputs",
        )
    images, classes = _npz.read(path, _IMAGES), _npz.class_names(path)
    labels = checked_labels(_npz.read(path, _npz.LABELS), len(images), classes, str(path)) if _npz.LABELS in found else None
    return Dataset(Numbered(str(path), len(images)), lambda i: Image.fromarray(images[i]), labels, classes, whole=True)
