"""ExecuTorch sessions keep the contract; a program keeps no names, so a bare one is numbered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit import reference_inputs
from edgekit.errors import ArtifactError, UsageError
from edgekit.runtimes import Session, TensorSpec

pytestmark = pytest.mark.slow

_INPUT = {"x": np.random.RandomState(0).standard_normal((1, 3, 32, 32)).astype(np.float32)}


@pytest.fixture(scope="module")
def directory(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("executorch")
    return edgekit.export(f"{tiny_file}:build", "executorch", input_shapes=((1, 3, 32, 32),), output=output).directory


@pytest.fixture
def session(directory: Path) -> Session:
    return edgekit.open(directory)


def test_names_and_shapes_come_from_the_manifest(session: Session) -> None:
    assert session.inputs == (TensorSpec("x", (1, 3, 32, 32), "float32"),)
    assert session.outputs == (TensorSpec("output", (1, 10), "float32"),)
    assert session.runtime.startswith("executorch 1.")


def test_it_computes_what_the_reference_says(session: Session, directory: Path) -> None:
    for inputs, outputs in zip(*reference_inputs.read(directory / "reference.npz"), strict=True):
        np.testing.assert_allclose(session.run(inputs)["output"], outputs["output"], rtol=1e-3, atol=1e-4)


def test_a_bare_program_is_numbered_and_computes_the_same(session: Session, directory: Path) -> None:
    bare = edgekit.open(directory / "model.pte")
    assert bare.inputs == (TensorSpec("input", (1, 3, 32, 32), "float32"),)
    assert bare.outputs == (TensorSpec("output", (1, 10), "float32"),)
    np.testing.assert_array_equal(bare.run({"input": _INPUT["x"]})["output"], session.run(_INPUT)["output"])


def test_outputs_of_one_run_survive_the_next(session: Session) -> None:
    first = session.run(_INPUT)["output"]
    kept = first.copy()
    session.run({"x": -_INPUT["x"]})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("count", [1, 2])
def test_threads_change_nothing_but_speed(session: Session, count: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = session.run(_INPUT)["output"]
    session.set_threads(count)
    np.testing.assert_allclose(session.run(_INPUT)["output"], before, rtol=1e-5, atol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_a_fresh_process_is_quiet_from_its_first_run(directory: Path) -> None:
    code = f"import edgekit; print(edgekit.verify({str(directory)!r}).conversion.passed)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_wrong_input_is_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="does not fit"):
        session.run({"x": _INPUT["x"][:, :, :-1]})
    with pytest.raises(UsageError, match="no input named y"):
        session.run({**_INPUT, "y": _INPUT["x"]})


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_program_cut_short_is_refused(directory: Path, tmp_path: Path, share: float) -> None:
    content = (directory / "model.pte").read_bytes()
    (tmp_path / "model.pte").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError, match="ExecuTorch cannot load") as caught:
        edgekit.open(tmp_path / "model.pte")
    assert caught.value.next_step


def test_a_norm_over_many_numbers_is_exact(tmp_path: Path) -> None:
    # XNNPACK adds up in a row: one mean over all 131,072 numbers at once gives 97 dB here.
    (tmp_path / "norm.py").write_text("import torch\n\ndef build():\n    return torch.nn.GroupNorm(1, 32)\n")
    made = edgekit.export(
        f"{tmp_path / 'norm.py'}:build", "executorch", input_shapes=((1, 32, 64, 64),), output=tmp_path / "norm"
    )
    assert (made.manifest.parity.conversion.sqnr_db or 0.0) > 115.0
