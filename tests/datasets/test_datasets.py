"""Every format gives its samples lazily, in one order, and says what is wrong with data it refuses."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekit import datasets, photographs
from edgekit.artifact import Preprocessing, Tensor
from edgekit.datasets import Dataset, Sample
from edgekit.errors import InputError

_HOW = Preprocessing(crop_fraction=1.0, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
_IMAGE = Tensor(name="image", shape=(1, 3, 8, 8), dtype="float32", preprocessing=_HOW)


def _photograph(red: int) -> Image.Image:
    return Image.new("RGB", (12, 10), (red, 0, 0))


def _red(sample: Sample) -> int:
    assert isinstance(sample.content, Image.Image)
    red, *_ = sample.content.getpixel((0, 0))  # type: ignore[misc]  # a number where there is one band
    return int(red)


def _folder(root: Path, classes: Mapping[str, list[int]]) -> Path:
    """Photographs whose names sort as they are listed."""
    for name, reds in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for place, red in enumerate(reds):
            _photograph(red).save(root / name / f"{place}.png")
    return root


def _jpegs(path: Path, reds: list[int], split: str = "train", **changed: Any) -> Path:
    encoded = []
    for red in reds:
        stream = io.BytesIO()
        _photograph(red).save(stream, "JPEG", quality=95)
        encoded.append(stream.getvalue())
    arrays = {
        f"{split}_jpeg": np.frombuffer(b"".join(encoded), np.uint8),
        f"{split}_offsets": np.cumsum([0, *map(len, encoded)]),
        f"{split}_labels": np.arange(len(reds), dtype=np.uint8),
        "classes": np.array(["a", "b", "c"]),
    }
    np.savez(path, **{**arrays, **changed})
    return path


def _npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def _images(reds: list[int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.stack([np.asarray(_photograph(red)) for red in reds])


def _cifar(root: Path, labels: Mapping[str, list[int]]) -> Path:
    root.mkdir()
    for file, numbers in labels.items():
        (root / file).write_bytes(b"".join(bytes([n]) + bytes([n] * 1024) + bytes(2048) for n in numbers))
    return root


def _refused(path: Path, *words: str, split: datasets.Split = "train") -> None:
    """Opening it, or reading all of it, says these words."""
    with pytest.raises(InputError) as caught:
        list(datasets.open(path, split))
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)
    assert caught.value.next_step


@pytest.mark.parametrize("name", datasets.formats())
def test_a_format_file_recognises_and_opens(name: str, tmp_path: Path) -> None:
    module = importlib.import_module(f"edgekit.datasets.{name}")
    assert module.__doc__
    assert not module.recognises(tmp_path), "an empty folder is nothing"
    assert not module.recognises(tmp_path / "nowhere")


# --- folders


def test_a_folder_a_class_is_read_class_by_class(tmp_path: Path) -> None:
    found = datasets.open(_folder(tmp_path, {"dog": [30], "cat": [10, 20], ".cache": []}), "train")
    assert found.classes == ("cat", "dog")
    assert found.labels == [0, 0, 1]
    assert found.whole
    assert [(_red(sample), sample.label) for sample in found] == [(10, 0), (20, 0), (30, 1)]
    assert [_red(sample) for sample in found] == [10, 20, 30], "the same order again"


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_split_folders_are_the_splits(tmp_path: Path, name: str) -> None:
    _folder(tmp_path / "train", {"ant": [1], "bee": [2]})
    _folder(tmp_path / name, {"bee": [3]})
    train, test = datasets.open(tmp_path, "train"), datasets.open(tmp_path, "test")
    assert [(_red(s), s.label) for s in train] == [(1, 0), (2, 1)]
    assert [(_red(s), s.label) for s in test] == [(3, 1)], "a class keeps its number where another is missing"
    assert not train.whole


def test_a_missing_split_is_said_to_be_missing(tmp_path: Path) -> None:
    _folder(tmp_path / "train", {"ant": [1]})
    _refused(tmp_path, "no test split", "it has train", split="test")


def test_photographs_without_classes_have_no_labels(tmp_path: Path) -> None:
    _folder(tmp_path, {"": [5, 6]})
    (tmp_path / "notes.txt").write_text("not a photograph")
    found = datasets.open(tmp_path, "test")
    assert (found.labels, found.classes) == (None, ())
    assert [(_red(s), s.label) for s in found] == [(5, None), (6, None)]


def test_only_the_photograph_asked_for_is_decoded(tmp_path: Path) -> None:
    _folder(tmp_path, {"": [5, 6]})
    (tmp_path / "1.png").write_bytes(b"damaged")
    found = datasets.open(tmp_path, "test")
    assert len(found) == 2
    assert _red(found[0]) == 5
    with pytest.raises(InputError, match=r"1\.png is no readable image"):
        found[1]


def test_folders_without_photographs_are_refused(tmp_path: Path) -> None:
    _refused(tmp_path / "nowhere", "does not exist")
    _refused(tmp_path, "holds no data", "empty folder")
    (tmp_path / "cat").mkdir()
    _refused(tmp_path, "cat holds no photographs", ".jpg")
    (tmp_path / "file.txt").write_text("text")
    _refused(tmp_path / "file.txt", "no known format")


# --- archives


def test_images_of_an_archive_are_photographs(tmp_path: Path) -> None:
    found = datasets.open(_npz(tmp_path / "d.npz", images=_images([7, 8]), labels=np.array([1, 0])), "train")
    assert [(_red(s), s.label) for s in found] == [(7, 1), (8, 0)]
    assert datasets.open(_npz(tmp_path / "u.npz", images=_images([7])), "test").labels is None


def test_jpegs_of_an_archive_are_its_splits(tmp_path: Path) -> None:
    path = _jpegs(tmp_path / "d.npz", [10, 100, 200])
    found = datasets.open(path, "train")
    assert found.classes == ("a", "b", "c")
    assert [abs(_red(s) - red) < 8 for s, red in zip(found, (10, 100, 200), strict=True)] == [True] * 3
    assert [s.label for s in found] == [0, 1, 2]
    assert "train, sample 1" in found[1].name
    _refused(path, "no array test_jpeg", split="test")


def test_a_damaged_jpeg_is_named_when_it_is_read(tmp_path: Path) -> None:
    whole = np.load(_jpegs(tmp_path / "d.npz", [10, 20]))
    encoded, second = whole["train_jpeg"].copy(), whole["train_offsets"][1]
    encoded[second : second + 40] = 0
    found = datasets.open(_jpegs(tmp_path / "d.npz", [10, 20], train_jpeg=encoded), "train")
    assert found[0].label == 0
    with pytest.raises(InputError, match="train, sample 1 is no readable image"):
        found[1]


def test_tensors_of_an_archive_go_to_the_inputs_they_name(tmp_path: Path) -> None:
    x, scale = np.arange(12, dtype=np.float64).reshape(2, 3, 2), np.array([[2], [3]])
    found = datasets.open(_npz(tmp_path / "d.npz", x=x, scale=scale, labels=np.array([4, 5])), "train")
    wanted = (Tensor(name="scale", shape=(1, 1), dtype="float32"), Tensor(name="x", shape=(1, 3, 2), dtype="float32"))
    assert found[1].label == 5
    given = datasets.inputs_of(found[1], wanted)
    assert {name: (array.dtype.name, array.tolist()) for name, array in given.items()} == {
        "x": ("float32", x[1:].tolist()),
        "scale": ("float32", [[3]]),
    }


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((2, 4, 4), np.uint8)}, ("images are [2, 4, 4]", "[N, H, W, 3]")),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, ("images are [0, 4, 4, 3]", "at least one")),
        ({"images": _images([1, 2]), "labels": np.array([0])}, ("do not fit its samples", "[1]", "2 samples")),
        ({"images": _images([1]), "labels": np.array([0.5])}, ("do not fit its samples", "float64")),
        ({"images": _images([1, 2]), "labels": np.array([0, -1])}, ("sample 1: its label is -1", "counted from 0")),
        ({"images": _images([1]), "labels": np.array([2]), "classes": np.array(["a", "b"])}, ("label is 2", "2 classes")),
        ({"x": np.array([[1.0], [np.nan]])}, ("sample 1: x holds NaN", "1 of its 1")),
        ({"x": np.array([[np.inf]])}, ("sample 0: x holds NaN or infinity",)),
        ({"x": np.zeros((0, 3))}, ("x is [0, 3]", "no samples")),
        ({"x": np.zeros(())}, ("x is []", "no samples")),
        ({"x": np.zeros((2, 3)), "y": np.zeros((3, 3))}, ("differ in length", "x has 2, y has 3")),
        ({"x": np.array(["word"])}, ("x is <U4", "takes numbers")),
        ({"x": np.array([{}])}, ("x is object",)),
        ({"labels": np.array([1])}, ("holds no inputs",)),
        ({}, ("is empty",)),
    ],
)
def test_arrays_that_are_no_data_are_refused(tmp_path: Path, arrays: dict[str, Any], words: tuple[str, ...]) -> None:
    _refused(_npz(tmp_path / "d.npz", **arrays), str(tmp_path / "d.npz"), *words)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train_offsets": np.array([0, 5, 3])}, ("do not rise",)),
        ({"train_offsets": np.array([0])}, ("no photograph",)),
        ({"train_offsets": np.array([0.0, 1.0])}, ("float64",)),
        ({"train_labels": np.array([0, 3])}, ("sample 1: its label is 3", "3 classes")),
    ],
)
def test_jpegs_that_do_not_fit_are_refused(tmp_path: Path, changed: dict[str, Any], words: tuple[str, ...]) -> None:
    _refused(_jpegs(tmp_path / "d.npz", [1, 2], **changed), "train", *words)


def test_an_archive_cut_short_or_changed_is_refused(tmp_path: Path) -> None:
    path = _npz(tmp_path / "d.npz", x=np.random.RandomState(0).rand(100, 10))
    content = path.read_bytes()
    path.write_bytes(content[:4000])
    _refused(path, "no readable .npz")
    path.write_bytes(content[:4000] + b"\0\0\0\0" + content[4004:])
    _refused(path, "x is damaged", "CRC")
    path.write_bytes(b"")
    _refused(path, "no readable .npz")


# --- CIFAR-10's own


def test_cifar_s_records_are_read_file_by_file(tmp_path: Path) -> None:
    path = _cifar(tmp_path / "c", {"data_batch_1.bin": [3, 4], "data_batch_2.bin": [5], "test_batch.bin": [6]})
    found = datasets.open(path, "train")
    assert [(_red(s), s.label) for s in found] == [(3, 3), (4, 4), (5, 5)]
    assert isinstance(found[0].content, Image.Image)
    assert found[0].content.getpixel((31, 31)) == (3, 0, 0)
    assert len(found.classes) == 10
    (path / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    assert datasets.open(path, "test").classes == tuple("abcdefghij")


def test_cifar_s_files_that_are_damaged_are_refused(tmp_path: Path) -> None:
    path = _cifar(tmp_path / "c", {"data_batch_1.bin": [3, 4]})
    _refused(path, "has no test_batch.bin", split="test")
    (path / "data_batch_1.bin").write_bytes(b"short")
    _refused(path, "data_batch_1.bin is damaged", "3073")
    (path / "data_batch_1.bin").write_bytes(bytes([200]) * 3073)
    _refused(path, "sample 0: its label is 200", "10 classes")


# --- what a session runs on


def test_a_photograph_is_preprocessed_as_its_input_says() -> None:
    given = datasets.inputs_of(Sample("p", _photograph(255), 0), (_IMAGE,))
    assert list(given) == ["image"]
    np.testing.assert_array_equal(given["image"], photographs.preprocess(_photograph(255), _HOW, 8))


@pytest.mark.parametrize(
    ("content", "inputs", "words"),
    [
        (_photograph(1), (Tensor(name="x", shape=(1, 4), dtype="float32"),), ("a photograph", "module of your own")),
        ({"x": np.zeros(4)}, (_IMAGE,), ("does not fit", "it has x; the model takes image")),
        ({"image": np.zeros((3, 8, 9))}, (_IMAGE,), ("image is [3, 8, 9]", "takes [3, 8, 8]", "[N, 3, 8, 8]")),
        ({"i": np.zeros(2)}, (Tensor(name="i", shape=(1, 2), dtype="int64"),), ("i is float64", "int64")),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(content: Any, inputs: tuple[Tensor, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        datasets.inputs_of(Sample("the sample", content, None), inputs)
    assert not [word for word in ("the sample", *words) if word not in str(caught.value)], str(caught.value)


def test_a_spread_of_samples_covers_all_of_them() -> None:
    found = Dataset(names=[str(i) for i in range(10)], decode=lambda index: {})
    assert found.spread(3) == [0, 4, 9]
    assert found.spread(50) == list(range(10))
