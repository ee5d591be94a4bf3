"""An `.npz` of encoded photographs in two splits: `{train,test}_jpeg`, their bytes end to end; `_offsets` int [N + 1], where
each begins and the last one ends; `_labels` int [N]; and `classes`, their names."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit import photographs
from edgekit.datasets import _npz
from edgekit.datasets._dataset import Dataset, Numbered, Split, checked_labels
from edgekit.errors import InputError

if TYPE_CHECKING:
    import PIL.Image

    from edgekit.runtimes import Array


def recognises(path: Path) -> bool:
    """Whether it has the bytes of either split."""
    return _npz.is_npz(path) and not {"train_jpeg", "test_jpeg"}.isdisjoint(_npz.headers(path))


def open(path: Path, split: Split) -> Dataset:
    """The photographs of `split`, in the order in which they are stored."""
    where = f"{path}, {split}"
    encoded, offsets = _npz.read(path, f"{split}_jpeg"), _npz.read(path, f"{split}_offsets")
    _check(encoded, offsets, where)
    names, classes = Numbered(where, len(offsets) - 1), _npz.class_names(path)
    labels = checked_labels(_npz.read(path, f"{split}_labels"), len(names), classes, where)

    def decode(index: int) -> PIL.Image.Image:
        one = encoded[offsets[index] : offsets[index + 1]].tobytes()
        return photographs.read(io.BytesIO(one), names[index])

    return Dataset(names, decode, labels, classes)


def _check(encoded: Array, offsets: Array, where: str) -> None:
    if encoded.dtype != np.uint8 or encoded.ndim != 1 or not np.issubdtype(offsets.dtype, np.integer) or offsets.ndim != 1:
        cause = f"they are {encoded.dtype} {list(encoded.shape)} and {offsets.dtype} {list(offsets.shape)}"
    elif len(offsets) < 2:
        cause = "there is no photograph between the offsets"
    elif offsets[0] != 0 or offsets[-1] != len(encoded) or (np.diff(offsets) <= 0).any():
        cause = f"the offsets do not rise from 0 to the {len(encoded)} bytes there are"
    else:
        return
    raise InputError(
        f"{where}: its bytes and offsets do not fit", cause=cause, next_step="give uint8 [bytes] and ascending integers [N + 1]"
    )
