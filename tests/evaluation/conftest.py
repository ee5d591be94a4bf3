"""Classifiers, worse ones beside them, and data that the first of them knows how to label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from evaluated_models import CLASSES, SAMPLES, SIDE, classifier, samples


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `exact.onnx`, `close.onnx`, `worse.onnx`, `broken.onnx`, `ten.onnx` (classes) and `batched.onnx` (of 7)."""
    folder = tmp_path_factory.mktemp("models")
    classifier(folder / "exact.onnx")
    classifier(folder / "close.onnx", noise=0.02)
    classifier(folder / "worse.onnx", noise=1.0)
    classifier(folder / "broken.onnx", broken=True)
    classifier(folder / "ten.onnx", classes=10)
    classifier(folder / "batched.onnx", noise=1.0, batch=7)
    return folder


@pytest.fixture(scope="session")
def labels() -> npt.NDArray[np.int64]:
    """What the exact model says of the samples, but for every tenth."""
    weight = np.random.default_rng(0).standard_normal((3 * SIDE * SIDE, CLASSES)).astype(np.float32)
    found = (samples().reshape(SAMPLES, -1) @ weight).argmax(1)
    found[::10] = (found[::10] + 1) % CLASSES
    return found


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory, labels: npt.NDArray[np.int64]) -> Path:
    """An `.npz` of the samples and their labels."""
    path = tmp_path_factory.mktemp("data") / "labelled.npz"
    np.savez(path, x=samples(), labels=labels, classes=np.array(["ant", "bee", "cat", "dog", "elk", "fox"]))
    return path


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `.npz` of the samples alone."""
    path = tmp_path_factory.mktemp("data") / "unlabelled.npz"
    np.savez(path, x=samples())
    return path
