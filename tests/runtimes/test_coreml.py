"""Core ML artifacts are proven anywhere: both questions of parity are answered, and a planted fault shows."""

from __future__ import annotations

import dataclasses
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit import artifact, parity, reference_inputs, runtimes
from edgekit.artifact import Artifact
from edgekit.errors import ParityError, Unsupported
from edgekit.runtimes import coreml
from edgekit.runtimes.coreml_reference import package

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "darwin", reason="the reference interpreter stands in for Core ML elsewhere"),
]


@pytest.fixture(scope="module", params=["fp16", "fp32"])
def made(request: pytest.FixtureRequest, tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    output = tmp_path_factory.mktemp("core ml") / "made"
    return edgekit.export(
        f"{tiny_file}:build", "coreml", precision=request.param, input_shapes=((1, 3, 32, 32),), output=output
    )


def test_an_export_answers_both_questions(made: Artifact) -> None:
    found = made.manifest.parity
    assert found.runtime is not None
    assert runtimes.REFERENCE in found.runtime
    assert found.conversion.passed
    assert found.precision.passed
    assert found.conversion.sqnr_db is not None
    assert found.precision.sqnr_db is not None
    assert found.conversion.sqnr_db > 90
    fp16 = made.manifest.precision == "fp16"
    assert (found.precision.sqnr_db < 80) is fp16  # rounding shows in the precision alone
    assert ("rounded to fp16" in found.reference) is fp16


def test_verify_answers_the_same(made: Artifact) -> None:
    assert edgekit.verify(made.directory) == made.manifest.parity


def test_a_session_takes_what_the_manifest_says(made: Artifact) -> None:
    with edgekit.open(made.directory) as session:
        assert session.inputs == (runtimes.TensorSpec("x", (1, 3, 32, 32), "float32"),)
        session.set_threads(1)
        inputs, expected = reference_inputs.read(made.directory / artifact.REFERENCE)
        assert parity.compare(expected, [session.run(values) for values in inputs], 50).passed


def _flipped(made: Artifact, tmp_path: Path) -> Artifact:
    """The artifact with the sign of its convolution's largest weight changed."""
    folder = Path(shutil.copytree(made.directory, tmp_path / "flipped"))
    constants = [op.arguments["val"][0] for op in package.load(made.model_file).body.walk() if op.operator == "const"]
    weight = next(array for array in constants if np.shape(array) == (8, 3, 3, 3))
    changed = weight.copy()
    changed.reshape(-1)[np.abs(weight).argmax()] *= -1
    file = next(folder.rglob("weight.bin"))
    content = file.read_bytes()
    assert content.count(weight.tobytes()) == 1
    file.write_bytes(content.replace(weight.tobytes(), changed.tobytes()))
    return dataclasses.replace(made, directory=folder)


def test_a_flipped_weight_is_a_wrong_conversion(made: Artifact, tmp_path: Path) -> None:
    found = parity.check(_flipped(made, tmp_path))
    assert found.conversion.passed is False
    assert found.conversion.sqnr_db is not None
    assert found.conversion.sqnr_db < 40


def test_on_a_mac_core_ml_itself_runs(made: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode that no Linux machine has: its session is asked for, and fails here for want of Apple's library."""
    opened: list[Path] = []

    class Session(coreml.CoreMLSession):
        def __init__(self, model_file: Path, *_: object) -> None:
            opened.append(model_file)

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(coreml, "CoreMLSession", Session)
    assert isinstance(coreml.open(made.model_file), Session)
    assert opened == [made.model_file]
    assert runtimes.REFERENCE in coreml.open_in_fp32(made.model_file).runtime


def test_threads_are_core_ml_s_own_business() -> None:
    with pytest.raises(Unsupported, match="chooses its own threads"):
        coreml.CoreMLSession.set_threads(object(), 1)  # type: ignore[arg-type]  # no session: a Mac makes those


LOSSY = """
import torch
from torch import nn


class Lossy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        y = self.conv(x) * 300
        return y.square().sum((2, 3)).sqrt() + x.mean()


def build():
    torch.manual_seed(0)
    return Lossy()
"""


def test_a_model_that_fp16_breaks_is_told_which_operation_lost_it(tmp_path: Path) -> None:
    (tmp_path / "lossy.py").write_text(LOSSY)
    request = {"input_shapes": ((1, 3, 16, 16),), "output": tmp_path / "made"}
    with pytest.raises(ParityError) as caught:
        edgekit.export(f"{tmp_path / 'lossy.py'}:build", "coreml", precision="fp16", **request)
    assert "misses the precision bound" in caught.value.what
    assert re.search(
        r"(square|mul|reduce_\w+) at \w+ has \d+ of \d+ values beyond what its type holds: up to", caught.value.cause
    )
    assert not (tmp_path / "made").exists()
    proof = edgekit.export(f"{tmp_path / 'lossy.py'}:build", "coreml", precision="fp32", **request).manifest.parity
    assert proof.conversion.passed
    assert proof.precision.passed
