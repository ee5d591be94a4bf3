"""A user's own runtime, `RUNTIME.py:MODEL`, runs and is measured as edgekit's own are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit import profiling, runtimes
from edgekit.profiling import table

_DOUBLING = """
import numpy as np
from edgekit.runtimes import Session, TensorSpec

LIBRARIES = ("numpy.fft",)


class Doubling(Session):
    def __init__(self, model):
        self.runtime = "doubling 1"
        self.factor = float(model.read_text())
        self.inputs = self.outputs = (TensorSpec("x", (2, 3), "float32"),)

    def execute(self, arrays):
        return [self.factor * array for array in arrays]

    def set_threads(self, count):
        pass


def open(model, inputs, outputs):
    return Doubling(model)
"""


@pytest.fixture
def subject(tmp_path: Path) -> str:
    (tmp_path / "doubling.py").write_text(_DOUBLING, encoding="utf-8")
    (tmp_path / "model.txt").write_text("2", encoding="utf-8")
    return f"{tmp_path / 'doubling.py'}:{tmp_path / 'model.txt'}"


def test_it_runs_what_its_model_says(subject: str) -> None:
    with runtimes.open(subject) as session:
        assert np.array_equal(session.run({"x": np.ones((2, 3), np.float32)})["x"], np.full((2, 3), 2, np.float32))


def test_it_is_measured(subject: str) -> None:
    [measured] = profiling.profile([subject], settings=profiling.Settings(duration_s=0.1))
    assert measured.fingerprint.runtime == "doubling 1"
    assert measured.runs >= 5


def test_one_that_chooses_its_own_threads_is_measured_and_said_to(subject: str, tmp_path: Path) -> None:
    telling = _DOUBLING.replace("(Session):", "(Session):\n    chooses_threads = True\n").replace("pass", "raise OSError")
    (tmp_path / "doubling.py").write_text(telling, encoding="utf-8")
    [measured] = profiling.profile([subject], settings=profiling.Settings(duration_s=0.1))
    assert measured.fingerprint.threads is None
    assert measured.waited_share is None
    assert any("chooses its own threads" in warning for warning in table.warnings(measured))


def test_without_its_model_it_is_no_such_subject(subject: str) -> None:
    assert runtimes.own(subject) is not None
    assert runtimes.own(f"{subject}.lost") is None
