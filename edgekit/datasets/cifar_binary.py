"""CIFAR-10 as its authors give it, the folder `cifar-10-batches-bin`: records of a label and 3 x 32 x 32 bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.datasets._dataset import Dataset, Numbered, Split, checked_labels
from edgekit.errors import InputError

if TYPE_CHECKING:
    import PIL.Image

_FILES: dict[Split, str] = {"train": "data_batch_*.bin", "test": "test_batch.bin"}
_NAMES = "batches.meta.txt"
_CLASSES, _SIDE = 10, 32
_RECORD = 1 + 3 * _SIDE * _SIDE


def recognises(path: Path) -> bool:
    """Whether it is a folder with CIFAR-10's files."""
    return path.is_dir() and any(any(path.glob(pattern)) for pattern in _FILES.values())


def open(path: Path, split: Split) -> Dataset:
    """The photographs of `split`, file by file."""
    from PIL import Image

    files = sorted(path.glob(_FILES[split]))
    if not files:
        raise InputError(f"{path} has no {_FILES[split]}", next_step="unpack CIFAR-10's binary version there again")
    for file in files:
        if file.stat().st_size % _RECORD or not file.stat().st_size:
            raise InputError(
                f"{file} is damaged",
                cause=f"its {file.stat().st_size} bytes are no whole number of records of {_RECORD}",
                next_step="unpack CIFAR-10's binary version there again",
            )
    records = np.concatenate([np.fromfile(file, np.uint8).reshape(-1, _RECORD) for file in files])
    names = path / _NAMES
    classes = tuple(names.read_text(encoding="utf-8").split()) if names.is_file() else tuple(map(str, range(_CLASSES)))

    def decode(index: int) -> PIL.Image.Image:
        return Image.fromarray(records[index, 1:].reshape(3, _SIDE, _SIDE).transpose(1, 2, 0))

    labels = checked_labels(records[:, 0], len(records), classes, f"{path}, {split}")
    return Dataset(Numbered(f"{path}, {split}", len(records)), decode, labels, classes)
