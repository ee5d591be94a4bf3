"""An `.npz` of tensors that are ready for a model: arrays [N, ...] by the names of its inputs, and where they are known
`labels` [N] and `classes`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekit.datasets import _npz, npz_images, npz_jpegs
from edgekit.datasets._dataset import Dataset, Numbered, Split, checked_labels
from edgekit.errors import InputError
from edgekit.runtimes import Array


def recognises(path: Path) -> bool:
    """Whether it is an `.npz` of nothing else."""
    return _npz.is_npz(path) and not npz_images.recognises(path) and not npz_jpegs.recognises(path)


def open(path: Path, split: Split) -> Dataset:
    """Its samples: there are no splits. A number that is none shows when its sample is read."""
    found = _npz.headers(path)
    inputs = {name: header for name, header in found.items() if name not in (_npz.LABELS, _npz.CLASSES)}
    _check(path, inputs)
    arrays = {name: _npz.read(path, name) for name in inputs}
    names = Numbered(str(path), next(iter(inputs.values())).shape[0])

    def decode(index: int) -> Mapping[str, Array]:
        sample = {name: array[index] for name, array in arrays.items()}
        for name, array in sample.items():
            if not np.isfinite(array).all():
                raise InputError(
                    f"{names[index]}: {name} holds NaN or infinity",
                    cause=f"{np.count_nonzero(~np.isfinite(array))} of its {array.size} numbers are not finite",
                    next_step="leave the sample out, or find out where they come from",
                )
        return sample

    classes = _npz.class_names(path)
    labels = checked_labels(_npz.read(path, _npz.LABELS), len(names), classes, str(path)) if _npz.LABELS in found else None
    return Dataset(names, decode, labels, classes, whole=True)


def _check(path: Path, inputs: Mapping[str, _npz.Header]) -> None:
    if not inputs:
        raise InputError(f"{path} holds no inputs", next_step="add arrays [N, ...] by the names of the model's inputs")
    for name, (dtype, shape) in inputs.items():
        if dtype.kind not in "fiub":
            raise InputError(f"{path}: {name} is {dtype}", cause="a model takes numbers", next_step="give an array of floats")
        if not shape or not all(shape):
            raise InputError(f"{path}: {name} is {list(shape)}", cause="it has no samples", next_step="give [N, ...]")
    counts = {name: header.shape[0] for name, header in inputs.items()}
    if len(set(counts.values())) > 1:
        raise InputError(
            f"{path}: its arrays differ in length",
            cause=", ".join(f"{name} has {count}" for name, count in counts.items()),
            next_step="give every input as many samples",
        )
