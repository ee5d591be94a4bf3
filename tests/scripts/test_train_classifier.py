"""Training learns, goes on where it was stopped as if it had not been, and refuses what it cannot learn from."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_classifier
from PIL import Image
from training import kept, pixels
from training.run import Run
from training.settings import Settings

from edgekit import models, sources
from edgekit.artifact import Preprocessing
from edgekit.recipe import Recipe

_PLAIN = Preprocessing(crop_fraction=1.0, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
_FACTORY = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(8, 2),
    ).eval()
"""


def _jpeg(red: int, blue: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (10, 12), (red, 0, blue)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red things and blue things."""
    arrays: dict[str, Any] = {"classes": np.array(["red", "blue"])}
    for split, count in (("train", 40), ("test", 20)):
        photographs = [_jpeg(*((150 + i, i) if i % 2 == 0 else (i, 150 + i))) for i in range(count)]
        arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(photographs), np.uint8)
        arrays[f"{split}_offsets"] = np.cumsum([0, *map(len, photographs)])
        arrays[f"{split}_labels"] = np.arange(count) % 2
    path = tmp_path_factory.mktemp("data") / "things.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture
def factory(tmp_path: Path) -> str:
    (tmp_path / "tiny.py").write_text(_FACTORY)
    return f"{tmp_path / 'tiny.py'}:build"


def _train(*options: object) -> int:
    return train_classifier.main([str(option) for option in options])


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / kept.WEIGHTS, weights_only=True)["model"]


def _position(folder: Path) -> dict[str, Any]:
    return json.loads((folder / kept.LOG).read_text())["position"]


def _tiny(factory: str, data: Path, output: Path, *options: object) -> tuple[object, ...]:
    return (factory, "--data", data, "--input-size", 8, "--batch", 8, "--learning-rate", 0.02, "--output", output, *options)


def test_it_learns_and_keeps_what_it_learned(factory: str, data: Path, tmp_path: Path) -> None:
    assert _train(*_tiny(factory, data, tmp_path / "run", "--epochs", 6)) == 0
    epochs = _position(tmp_path / "run")["epochs"]
    assert [round(done["epochs"]) for done in epochs] == [1, 2, 3, 4, 5, 6, 6]
    assert (epochs[-1]["accuracy"], epochs[-1]["judged_on"]) == (1.0, 20)
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(factory: str, data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert _train(*_tiny(factory, data, tmp_path / name, "--epochs", 1, "--seed", seed)) == 0
    a, b, c = (_weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["0.weight"], c["0.weight"])


@pytest.mark.parametrize("steps", [1, 5, 12], ids=["within the first epoch", "between epochs", "within a later one"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    factory: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    options = ("--epochs", 3, "--first-size", 6)
    assert _train(*_tiny(factory, data, tmp_path / "whole", *options)) == 0
    with monkeypatch.context() as patch:
        taken, step = itertools.count(1), Run.step

        def stopping(run: Run) -> None:
            step(run)
            if next(taken) == steps:
                train_classifier.signal.raise_signal(train_classifier.signal.SIGTERM)

        patch.setattr(Run, "step", stopping)
        assert _train(*_tiny(factory, data, tmp_path / "parts", *options)) == train_classifier.STOPPED
    assert _position(tmp_path / "parts")["step"] == steps
    assert _train(*_tiny(factory, data, tmp_path / "parts", *options, "--resume")) == 0
    whole, parts = _weights(tmp_path / "whole"), _weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    ends = [
        [(done["epochs"], done["train_loss"], done["accuracy"]) for done in _position(tmp_path / name)["epochs"]]
        for name in ("whole", "parts")
    ]
    assert ends[0] == ends[1]


def test_a_run_ends_with_its_minutes(factory: str, data: Path, tmp_path: Path) -> None:
    assert _train(*_tiny(factory, data, tmp_path / "run", "--epochs", 1e6, "--minutes", 0.005)) == 0
    assert 0.3 <= _position(tmp_path / "run")["seconds"] < 2


def test_a_run_that_ended_is_lengthened_and_one_of_other_settings_refused(
    factory: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert _train(*_tiny(factory, data, run, "--epochs", 1)) == 0
    assert _train(*_tiny(factory, data, run, "--epochs", 2)) == 2
    assert "add --resume" in capsys.readouterr().err
    assert _train(*_tiny(factory, data, run, "--epochs", 2, "--resume", "--batch", 4)) == 2
    assert "its batch is 8, not 4" in capsys.readouterr().err
    assert _train(*_tiny(factory, data, run, "--epochs", 2, "--resume")) == 0
    assert _position(run)["step"] == 10
    (run / kept.STATE).write_bytes(b"PK damaged")
    assert _train(*_tiny(factory, data, run, "--epochs", 3, "--resume")) == 2
    assert "state.pth is damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_a_variant_s_checkpoint_is_exported_with_its_classes_and_size(data: Path, tmp_path: Path) -> None:
    assert _train("casvit_xs", "--data", data, "--input-size", 64, "--epochs", 0.1, "--batch", 8, "--output", tmp_path) == 0
    loaded = sources.load(Recipe(model="casvit_xs", target="onnx", weights=tmp_path / kept.WEIGHTS))
    assert loaded.module(loaded.inputs["image"]).shape == (1, 2)
    assert loaded.inputs["image"].shape == (1, 3, 64, 64)
    assert loaded.labels is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--epochs", 0), ("--epochs is 0",)),
        (("--minutes", -1), ("--minutes is -1",)),
        (("--first-size", 16), ("--first-size is 16", "grow to 8")),
        (("--learning-rate", 1e30), ("the loss is", "diverged")),
    ],
)
def test_settings_that_make_no_run_are_refused(
    factory: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[object, ...],
    words: tuple[str, ...],
) -> None:
    assert _train(*_tiny(factory, data, tmp_path / "run", *options)) == 2
    error = capsys.readouterr().err
    assert not [word for word in words if word not in error], error


def test_data_that_cannot_be_trained_on_is_refused(factory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "whole.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.zeros(4, int))
    for name in ("train", "test"):
        (tmp_path / "unlabelled" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "unlabelled" / name / "p.png")
    for name, word in (("whole.npz", "no splits"), ("unlabelled", "no labels"), ("nowhere", "does not exist")):
        assert _train(*_tiny(factory, tmp_path / name, tmp_path / "run")) == 2
        assert word in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_module_that_does_not_fit_the_data_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.py").write_text(_FACTORY.replace("nn.Linear(8, 2)", "nn.Linear(8, 1)"))
    assert _train(*_tiny(f"{tmp_path / 'one.py'}:build", data, tmp_path / "run")) == 2
    assert "the data has 2 classes" in capsys.readouterr().err
    assert _train("lsnet_t", "--data", data, "--input-size", 96, "--first-size", 32, "--output", tmp_path / "run") == 2
    assert "cannot take images of 32x32" in capsys.readouterr().err


# --- what a step sees


def test_without_a_shift_or_a_flip_a_batch_is_what_the_artifact_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.from_numpy(np.random.RandomState(0).randint(0, 255, (3, 8, 8, 3), np.uint8))
    how = models.IMAGENET.model_copy(update={"crop_fraction": 1.0})
    monkeypatch.setattr(torch, "randint", lambda low, high, size: torch.zeros(size, dtype=torch.long))
    monkeypatch.setattr(torch, "rand", lambda *size: torch.zeros(size))
    seen = pixels.augmented(images, how, 8)
    assert seen.shape == (3, 3, 8, 8)
    torch.testing.assert_close(seen, pixels.normalised(images, how))
    monkeypatch.setattr(torch, "rand", lambda *size: torch.ones(size))
    torch.testing.assert_close(pixels.augmented(images, how, 8), pixels.normalised(images.flip(2), how))


def test_crops_beyond_the_border_are_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.arange(8, dtype=torch.uint8).repeat(1, 8, 1)[..., None].repeat(1, 1, 1, 3)
    monkeypatch.setattr(torch, "rand", lambda *size: torch.zeros(size))
    for corner, row in ((-1, [1, 0, 1, 2, 3, 4, 5, 6]), (1, [1, 2, 3, 4, 5, 6, 7, 6])):
        monkeypatch.setattr(torch, "randint", lambda low, high, size, at=corner: torch.full(size, at))
        seen = pixels.augmented(images, _PLAIN, 8)
        assert (255 * seen[0, 0, 0]).round().int().tolist() == row


def test_images_are_scaled_to_the_size_asked_for() -> None:
    images = torch.full((2, 8, 8, 3), 51, dtype=torch.uint8)
    seen = pixels.augmented(images, _PLAIN.model_copy(update={"crop_fraction": 0.75}), 12)
    assert seen.shape == (2, 3, 12, 12)
    torch.testing.assert_close(seen, torch.full_like(seen, 0.2))


# --- the schedule


def _settings(**changes: Any) -> Settings:
    plain: dict[str, Any] = {
        "model": "m", "input_size": 64, "first_size": 32, "epochs": 10, "minutes": 5, "batch": 8, "learning_rate": 1.0,
        "weight_decay": 0.0, "smoothing": 0.0, "bf16": False, "seed": 0,
    }  # fmt: skip
    return Settings(**{**plain, **changes})


def test_whichever_ends_first_ends_the_schedule() -> None:
    assert _settings().progress(epochs=5, minutes=1) == 0.5
    assert _settings().progress(epochs=5, minutes=4) == 0.8
    assert _settings().progress(epochs=11, minutes=0) == 1.0


def test_the_rate_rises_and_falls_to_nothing() -> None:
    rates = [_settings().rate(progress / 100) for progress in range(101)]
    assert rates.index(max(rates)) == 10
    assert max(rates) == pytest.approx(1.0)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_images_grow_and_the_last_two_fifths_are_of_the_last_size() -> None:
    sizes = [_settings().size(progress) for progress in (0, 0.29, 0.31, 0.59, 0.61, 1.0)]
    assert sizes == [32, 32, 48, 48, 64, 64]
    assert _settings(first_size=64).size(0) == 64
    assert _settings(first_size=60).size(0.5) == 60
