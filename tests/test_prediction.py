"""The likeliest classes come with their names and probabilities, and artifacts that classify no images are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit import artifact, prediction, runtimes
from edgekit.artifact import Artifact, Preprocessing
from edgekit.errors import UsageError
from edgekit.runtimes import Array, Session, TensorSpec

_HOW = Preprocessing(crop_fraction=0.875, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
_SIZE = 32


def _photograph(folder: Path) -> Path:
    Image.new("RGB", (64, 48), (255, 0, 0)).save(folder / "p.png")
    return folder / "p.png"


class _Fixed(Session):
    """Gives the same scores for whatever it is asked."""

    runtime = "fixed"

    def __init__(self, scores: Sequence[float], batch: int) -> None:
        self.inputs = (TensorSpec("image", (batch, 3, _SIZE, _SIZE), "float32"),)
        self.outputs = (TensorSpec("logits", (batch, len(scores)), "float32"),)
        self.scores = np.array([scores] * batch, np.float32)

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        return [self.scores]

    def set_threads(self, count: int) -> None: ...


def _classifier(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, scores: Sequence[float], *, labels: str | None = None, batch: int = 1
) -> Artifact:
    loaded = artifact.load(tiny_artifact)
    image = artifact.Tensor(name="image", shape=(batch, 3, _SIZE, _SIZE), dtype="float32", preprocessing=_HOW)
    logits = artifact.Tensor(name="logits", shape=(batch, len(scores)), dtype="float32")
    model = loaded.manifest.model.model_copy(update={"labels": labels})
    manifest = loaded.manifest.model_copy(update={"inputs": (image,), "outputs": (logits,), "model": model})
    monkeypatch.setattr(runtimes, "open", lambda directory: _Fixed(scores, batch))
    return Artifact(loaded.directory, manifest)


@pytest.mark.parametrize("batch", [1, 4])
def test_the_likeliest_classes_come_first_with_their_probabilities(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    classifier = _classifier(tiny_artifact, monkeypatch, [1.0, 900.0, 902.0, -5.0], batch=batch)
    top = prediction.predict(classifier, _photograph(tmp_path), 2)
    assert [(found.index, found.label) for found in top] == [(2, "class 2"), (1, "class 1")]
    assert top[0].probability == pytest.approx(1 / (1 + np.exp(-2)))
    assert top[0].probability + top[1].probability == pytest.approx(1)


def test_classes_are_named_where_their_list_is_known(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = np.zeros(1000)
    scores[[0, 207]] = 3, 5
    classifier = _classifier(tiny_artifact, monkeypatch, list(scores), labels="imagenet1k")
    top = prediction.predict(classifier, _photograph(tmp_path), 2)
    assert [found.label for found in top] == ["golden retriever", "tench, Tinca tinca"]


def test_an_artifact_without_preprocessing_says_what_to_do(tiny_artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="how a photograph becomes its input") as caught:
        prediction.predict(artifact.load(tiny_artifact), tmp_path / "p.png", 5)
    assert "edgekit.open" in caught.value.next_step
