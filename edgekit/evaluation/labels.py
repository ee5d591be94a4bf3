"""Which output each label of the data means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit import class_lists
from edgekit.datasets import Dataset
from edgekit.errors import InputError
from edgekit.evaluation.scores import Integers

_SHOWN = 3


@dataclass(frozen=True)
class Labels:
    """The labels of all samples as indices of a model's outputs, and the outputs' names."""

    of: Integers | None
    """[samples]; None where nothing says them."""
    names: tuple[str, ...]

    def label(self, sample: int) -> int | None:
        """That of one sample."""
        return None if self.of is None else int(self.of[sample])


def of(dataset: Dataset, class_list: str | None, outputs: int, subject: str) -> Labels:
    """The labels of `dataset` for a model of so many `outputs`, whose `class_list` names them where it is known. Raises
    InputError where they cannot be told.

    Folders called as the list's ids are (a part of ImageNet) mean those; otherwise classes and outputs must be as many, in the
    same order.
    """
    listed = class_lists.read(class_list)
    names = (
        tuple(one.label.partition(",")[0] for one in listed)
        if len(listed) == outputs
        else tuple(f"class {n}" for n in range(outputs))
    )
    if dataset.labels is None:
        return Labels(None, names)
    labels = np.asarray(dataset.labels, np.int64)
    places = {one.id: place for place, one in enumerate(listed)} if len(listed) == outputs else {}
    if dataset.classes and set(dataset.classes) <= places.keys():
        return Labels(np.array([places[name] for name in dataset.classes])[labels], names)
    if dataset.classes and len(dataset.classes) != outputs:
        shown = (*dataset.classes[:_SHOWN], *(["..."] if len(dataset.classes) > _SHOWN else []))
        raise _others(subject, outputs, f"the data have {len(dataset.classes)} ({', '.join(shown)})")
    if labels.max() >= outputs:
        raise _others(subject, outputs, f"the data have a label {labels.max()}")
    return Labels(labels, dataset.classes or names)


def _others(subject: str, outputs: int, cause: str) -> InputError:
    return InputError(
        f"{subject} was made for other classes than the data's",
        cause=f"it scores {outputs} classes; {cause}",
        next_step="give data of its own classes (folders of ImageNet's are called by WordNet ids), or data without labels",
    )
