"""Which output a label means."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit import class_lists
from edgekit.datasets import Dataset
from edgekit.errors import InputError
from edgekit.evaluation import labels


def _dataset(of: list[int] | None, classes: tuple[str, ...] = ()) -> Dataset:
    return Dataset([str(n) for n in range(len(of or [0]))], lambda index: {}, of, classes)


def test_a_part_of_imagenet_means_its_classes_by_their_ids() -> None:
    listed = class_lists.read("imagenet1k")
    assert len(listed) == 1000
    found = labels.of(_dataset([1, 0, 1], (listed[7].id, listed[980].id)), "imagenet1k", 1000, "net")
    assert found.of is not None
    assert found.of.tolist() == [980, 7, 980]
    assert found.names[1] == "goldfish"
    assert found.label(1) == 7


def test_as_many_classes_as_outputs_are_in_their_order() -> None:
    found = labels.of(_dataset([2, 0], ("a", "b", "c")), None, 3, "net")
    assert np.array_equal(found.of, [2, 0])
    assert found.names == ("a", "b", "c")
    unnamed = labels.of(_dataset([2, 0]), None, 5, "net")
    assert unnamed.names[2] == "class 2"


def test_without_labels_there_are_none() -> None:
    found = labels.of(_dataset(None), None, 3, "net")
    assert found.of is None
    assert found.label(0) is None


@pytest.mark.parametrize(
    ("dataset", "cause"),
    [(_dataset([0], ("cat", "dog")), "the data have 2 (cat, dog)"), (_dataset([0, 1000]), "the data have a label 1000")],
)
def test_other_classes_are_an_error(dataset: Dataset, cause: str) -> None:
    with pytest.raises(InputError, match="net was made for other classes") as caught:
        labels.of(dataset, "imagenet1k", 1000, "net")
    assert cause in caught.value.cause
    assert "it scores 1000 classes" in caught.value.cause
