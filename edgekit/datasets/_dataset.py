"""What every format of datasets gives: samples in a fixed order, each decoded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekit.errors import InputError
from edgekit.runtimes import Array

if TYPE_CHECKING:
    import PIL.Image

    Content = PIL.Image.Image | Mapping[str, Array]

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Sample:
    """A photograph in RGB, or a model's inputs by name (without the batch's axis), and the class it belongs to."""

    name: str
    """What errors call it."""
    content: Content
    label: int | None


@dataclass(frozen=True)
class Dataset:
    """Samples in an order that never changes. `dataset[i]` decodes the i-th, and raises InputError where it is damaged."""

    names: Sequence[str]
    decode: Callable[[int], Content]
    labels: Sequence[int] | None = None
    """The class of each sample, without decoding any; None where nothing says it."""
    classes: tuple[str, ...] = ()
    """The classes' names; empty where nothing names them."""
    whole: bool = False
    """Whether the data has no splits: what was asked for as one is all of it."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        label = None if self.labels is None else int(self.labels[index])
        return Sample(self.names[index], self.decode(index), label)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def spread(self, count: int) -> list[int]:
        """The indices of `count` samples that lie evenly over all of them (of every one, where there are no more)."""
        return [int(place) for place in np.linspace(0, len(self) - 1, min(count, len(self))).round()]


@dataclass(frozen=True)
class Numbered(Sequence[str]):
    """The names of samples which have none: where they are, and their place."""

    where: str
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int | slice) -> str:  # slices only because Sequence has them: refused
        if not isinstance(index, int) or not 0 <= index < self.length:
            raise IndexError(index)
        return f"{self.where}, sample {index}"


def checked_labels(labels: Array, count: int, classes: Sequence[str], where: str) -> list[int]:
    """`labels` as a list. Raises InputError unless there are `count` classes' numbers, each within `classes` where these are
    named."""
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{where}: its labels do not fit its samples",
            cause=f"they are {labels.dtype} {list(labels.shape)}, for {count} samples",
            next_step=f"give one whole number a sample: an integer array [{count}]",
        )
    beyond = (labels < 0) | (labels >= len(classes)) if classes else labels < 0
    if beyond.any():
        first = int(np.argmax(beyond))
        raise InputError(
            f"{where}, sample {first}: its label is {labels[first]}",
            cause=f"there are {len(classes)} classes, counted from 0" if classes else "classes are counted from 0",
            next_step="correct the labels, or name every class",
        )
    return [int(label) for label in labels]
