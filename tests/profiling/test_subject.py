"""What is measured is described before anything runs: artifacts, bare files, models, and the batches they take."""

from __future__ import annotations

import gc
from pathlib import Path

import onnx
import pytest

import edgekit
from edgekit.errors import UsageError
from edgekit.profiling import Settings, machine, profile, worker
from edgekit.profiling.subject import describe


@pytest.fixture(scope="module")
def any_batch(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's artifact for 1 to 8."""
    output = tmp_path_factory.mktemp("batches")
    made = edgekit.export(f"{tiny_file}:build", "onnx", input_shapes=((1, 3, 32, 32),), max_batch=8, output=output)
    return made.directory


def test_an_artifact_tells_what_it_is(tiny_artifact: Path) -> None:
    subject = describe(tiny_artifact)
    assert (subject.model.name, subject.model.target, subject.model.precision) == ("tiny_build", "onnx", "fp32")
    assert subject.shapes == ((1, 3, 32, 32),)
    assert subject.model.macs == 8 * 3 * 9 * 16 * 16 + 80
    assert subject.label == str(subject.model.sha256)[:16]


def test_a_bare_file_tells_its_target_and_its_size(tiny_artifact: Path) -> None:
    subject = describe(tiny_artifact / "model.onnx")
    assert (subject.model.name, subject.model.target, subject.shapes) == ("model", "onnx", None)
    assert subject.model.size_bytes == (tiny_artifact / "model.onnx").stat().st_size
    with pytest.raises(UsageError, match="in the batch it was made for"):
        describe(tiny_artifact / "model.onnx", 2)


def test_weights_beside_a_file_are_part_of_it(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = tmp_path / "split.onnx", tmp_path / "w.bin"
    options = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 256}
    onnx.save(onnx.load(tiny_artifact / "model.onnx"), model, **options)
    subject = describe(model)
    assert subject.data == ("w.bin",)
    assert subject.model.size_bytes == model.stat().st_size + data.stat().st_size
    put_out: list[Path] = []
    monkeypatch.setattr(gc, "disable", lambda: None)  # this process goes on
    monkeypatch.setattr(machine, "forget_files", lambda files: bool(put_out.extend(files)))
    worker._Host().open(str(model), threads=1, cold=True, data=subject.data)
    assert put_out == [model, data]
    data.write_bytes(data.read_bytes()[::-1])
    assert describe(model).label != subject.label


def test_multiply_adds_and_shapes_grow_with_the_batch(any_batch: Path) -> None:
    one, four = describe(any_batch), describe(any_batch, 4)
    assert four.shapes == ((4, 3, 32, 32),)
    assert (four.model.macs or 0) == 4 * (one.model.macs or 0)
    assert four.label == f"{one.label} in batches of 4"


@pytest.mark.parametrize("batch", [9, 100])
def test_a_batch_beyond_the_artifact_s_is_refused(any_batch: Path, batch: int) -> None:
    with pytest.raises(UsageError, match=f"in batches of {batch}") as caught:
        describe(any_batch, batch)
    assert caught.value.cause == "it takes batches of 1 to 8"
    assert f"--max-batch {batch}" in caught.value.next_step


def test_an_artifact_of_one_batch_takes_that_one_alone(tiny_artifact: Path) -> None:
    assert describe(tiny_artifact, 1).shapes == ((1, 3, 32, 32),)
    with pytest.raises(UsageError) as caught:
        describe(tiny_artifact, 2)
    assert caught.value.cause == "it takes a batch of 1 alone"


def test_each_batch_is_measured_by_itself(any_batch: Path) -> None:
    one, eight = profile([any_batch], settings=Settings(duration_s=0.1, batches=(1, 8)))
    assert [made.conditions.batch for made in (one, eight)] == [1, 8]
    assert eight.conditions.input_shapes == {"x": (8, 3, 32, 32)}
    assert one.job == eight.job


def test_a_module_takes_any_batch(tiny_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "with_input.py"
    path.write_text(tiny_file.read_text() + "\n\ndef example():\n    return build(), {'x': torch.ones(2, 3, 32, 32)}\n")
    two, six = profile([f"{path}:example"], settings=Settings(duration_s=0.1, batches=(2, 6)))
    assert six.conditions.input_shapes == {"x": (6, 3, 32, 32)}
    assert (six.model.macs or 0) == 3 * (two.model.macs or 0) > 0
