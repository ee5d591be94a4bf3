"""A rival is made and judged in processes of its own: one that refuses, crashes or computes something else says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import rival

from edgekit import artifact, runtimes
from edgekit.artifact import Artifact
from edgekit.errors import ConversionError

pytestmark = pytest.mark.slow

_SAVES = """
VARIANTS = {TITLE: {"factor": FACTOR}}
REQUIRES = ("torch",)
LIBRARIES = ("torch",)

import torch
from edgekit.runtimes.eager import EagerSession


class Scaled(torch.nn.Module):
    def __init__(self, program, factor):
        super().__init__()
        self.factor = factor
        self.run = program.module()

    def eval(self):
        return self

    def forward(self, x):
        return self.run(x) * self.factor


def convert(source, folder, *, factor):
    torch.export.save(source.program, folder / "program.pt2")
    torch.save((source.inputs, source.output_names, factor), folder / "borders.pt")


def open(folder, inputs, outputs):
    example, names, factor = torch.load(folder / "borders.pt")
    return EagerSession(Scaled(torch.export.load(folder / "program.pt2"), factor), example, names)
"""
_REFUSES = """
VARIANTS = {"refuses": {}}
REQUIRES = ()


def convert(source, folder):
    raise RuntimeError("no complex numbers | here\\nand a second line")
"""
_CRASHES = _REFUSES.replace("refuses", "crashes").replace("raise RuntimeError(", "import os; os.abort(); str(")
_ABSENT = _REFUSES.replace("refuses", "absent").replace("()\n", '("no-such-distribution",)\n', 1)


@pytest.fixture
def exported(tiny_artifact: Path) -> Artifact:
    return artifact.load(tiny_artifact)


def _only(folder: Path, code: str) -> rival.Rival:
    (folder / "one.py").write_text(code, encoding="utf-8")
    [found] = rival.find(folder)
    return found


def _saves(title: str, factor: float) -> str:
    return _SAVES.replace("TITLE", repr(title)).replace("FACTOR", repr(factor))


def test_every_rival_has_a_title_of_its_own_and_options_that_its_converter_takes() -> None:
    found = list(rival.find())
    assert len({one.title for one in found}) == len(found)
    assert {"PyTorch eager", "torch.compile", "ONNX Runtime", "ONNX Runtime after onnxsim", "ExecuTorch"} <= {
        one.title for one in found
    }
    assert not [one.title for one in found if {"onnxruntime", "executorch", "torch"} & set(one.missing)]


def test_a_rival_is_made_once_and_gives_what_eager_gives(tmp_path: Path, exported: Artifact) -> None:
    one = _only(tmp_path, _saves("saves", 1.0))
    made = rival.make(one, exported, tmp_path / "kept")
    assert made.failure == ""
    assert made.sqnr_db is not None
    assert made.sqnr_db > 100
    assert runtimes.open(made.subject).inputs[0].shape == (1, 3, 32, 32)
    [program] = (tmp_path / "kept").rglob("program.pt2")
    before = program.stat().st_mtime_ns
    assert rival.make(one, exported, tmp_path / "kept") == made
    assert program.stat().st_mtime_ns == before
    other = dataclasses.replace(one, options={"factor": 2.0})
    again = rival.make(other, exported, tmp_path / "kept")
    assert again.sqnr_db == pytest.approx(0.0, abs=0.1)
    assert program.stat().st_mtime_ns != before


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (_REFUSES, "convert failed: RuntimeError: no complex numbers / here and a second line"),
        (_CRASHES, "convert crashed (signal SIGABRT): "),
        (_ABSENT, "not installed: no-such-distribution"),
    ],
)
def test_one_that_fails_says_how_on_one_line(tmp_path: Path, exported: Artifact, code: str, failure: str) -> None:
    made = rival.make(_only(tmp_path, code), exported, tmp_path / "kept")
    assert made.failure.startswith(failure)
    assert "\n" not in made.failure
    assert made.sqnr_db is None


def test_a_long_cause_is_cut() -> None:
    assert len(rival.one_line(ConversionError("it failed", cause="why " * 400))) == 203
