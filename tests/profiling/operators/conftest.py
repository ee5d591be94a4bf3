"""The nested model, its artifact, and what to run them on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nested_model import NESTED

import edgekit
from edgekit.runtimes import Array


@pytest.fixture(scope="session")
def nested_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nested") / "nested.py"
    path.write_text(NESTED, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def nested_artifact(nested_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its ONNX artifact."""
    made = edgekit.export(
        f"{nested_file}:build", "onnx", input_shapes=((1, 3, 32, 32),), output=tmp_path_factory.mktemp("artifacts")
    )
    return made.directory


@pytest.fixture
def arrays() -> list[Array]:
    return [np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)]
