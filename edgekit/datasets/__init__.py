"""Datasets to calibrate with, to judge by and to train on, one format a file.

A format's file is found by its name (those of helpers begin with an underscore) and exports

- `recognises(path) -> bool`: whether a file or a folder is of this format, from its names alone; no path is of two formats;
- `open(path, split) -> Dataset`: its samples of that split; where the data has no splits, all of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from edgekit import photographs
from edgekit.datasets._dataset import Dataset, Sample, Split
from edgekit.errors import InputError
from edgekit.runtimes import Array

if TYPE_CHECKING:
    from edgekit.artifact import Tensor

__all__ = ["Dataset", "Sample", "Split", "formats", "inputs_of", "open"]


def formats() -> list[str]:
    """Every format there is."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))


def open(path: str | Path, split: Split) -> Dataset:
    """The samples of `split` at `path`, in the format that the path's content tells. Raises InputError for what is missing,
    damaged, empty or of no format; a sample that is damaged raises when it is read."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist", next_step="check the path of the data")
    for name in formats():
        module = importlib.import_module(f"{__name__}.{name}")
        if module.recognises(path):
            return cast(Dataset, module.open(path, split))
    raise InputError(
        f"{path} holds no data that edgekit reads",
        cause="it is an empty folder" if path.is_dir() and not any(path.iterdir()) else "its content is of no known format",
        next_step="give a folder of photographs, a folder with one of them for each class, an .npz, or cifar-10-batches-bin",
    )


def inputs_of(sample: Sample, inputs: Sequence[Tensor]) -> dict[str, Array]:
    """What a session runs on: arrays [1, ...] of the inputs' types by their names. A photograph is preprocessed as its input
    says. Raises InputError for a sample that does not fit."""
    if not isinstance(sample.content, Mapping):
        return {inputs[0].name: _of_photograph(sample, inputs)}
    given, wanted = set(sample.content), {tensor.name for tensor in inputs}
    if given != wanted:
        raise InputError(
            f"{sample.name} does not fit the model's inputs",
            cause=f"it has {', '.join(sorted(given))}; the model takes {', '.join(sorted(wanted))}",
            next_step="give one array an input, by the inputs' names",
        )
    return {tensor.name: _of_array(sample, sample.content[tensor.name], tensor) for tensor in inputs}


def _of_photograph(sample: Sample, inputs: Sequence[Tensor]) -> Array:
    assert not isinstance(sample.content, Mapping)
    if len(inputs) != 1 or inputs[0].preprocessing is None:
        raise InputError(
            f"{sample.name} is a photograph, which the model does not take",
            cause="nothing says how a photograph becomes its input: it was exported from a module of your own",
            next_step=f"give an .npz with {', '.join(tensor.name for tensor in inputs)} as arrays [N, ...]",
        )
    return photographs.preprocess(sample.content, inputs[0].preprocessing, inputs[0].shape[-1])


def _of_array(sample: Sample, array: Array, tensor: Tensor) -> Array:
    if array.shape != tensor.shape[1:]:
        raise InputError(
            f"{sample.name}: {tensor.name} is {list(array.shape)}",
            cause=f"the model takes {list(tensor.shape[1:])}",
            next_step=f"give {tensor.name} as an array {['N', *tensor.shape[1:]]}".replace("'", ""),
        )
    if not np.can_cast(array.dtype, tensor.dtype, "same_kind"):
        raise InputError(
            f"{sample.name}: {tensor.name} is {array.dtype}",
            cause=f"the model takes {tensor.dtype}, which would lose what is behind the point",
            next_step=f"give {tensor.name} as {tensor.dtype}",
        )
    return np.ascontiguousarray(array[None], dtype=tensor.dtype)
