"""The matrix loses nothing to a failing cell, and the README's table says what it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import matrix
import pytest
from matrix import Cell

from edgekit import parity
from edgekit.artifact import Parity, ParityRecord
from edgekit.inspection import Delegation, Finding, Place, Report

_PROVEN = Parity(
    sqnr_db=101.26,
    max_error_over_spread=1e-5,
    cosine=1.0,
    top1_agreement=1.0,
    bound_sqnr_db=60.0,
    passed=True,
)
_NOT_RUN = parity.not_run(60.0, "Core ML runs on macOS and iOS only")


def _record(conversion: Parity, precision: Parity) -> ParityRecord:
    return ParityRecord(reference="eager", runtime=None, conversion=conversion, precision=precision)


_TOO_LITTLE = _PROVEN.model_copy(
    update={"sqnr_db": 5.04, "bound_sqnr_db": 30.0, "passed": False, "reason": "gather at x|y is 12.0 dB\nfrom fp32"}
)
_CELLS = [
    Cell("lsnet_t", "onnx", "fp32", _record(_PROVEN, _PROVEN), 45_600_000, 21.7, "510, all on the CPU"),
    Cell("lsnet_t", "executorch", "fp32", failure="lowering to executorch crashed (signal SIGSEGV)"),
    Cell("lsnet_t", "coreml", "fp16", _record(_PROVEN, _TOO_LITTLE), 1, 1.0, "9"),
    Cell("lsnet_t", "coreml", "fp32", _record(_NOT_RUN, _NOT_RUN), 1, 1.0, "9"),
    Cell("lsnet_t", "coreml", "fp32", _record(_PROVEN, _PROVEN), 1, 1.0, "9", statistics="the golden vectors"),
]


@pytest.fixture
def tiny_recipe(tiny_file: Path, tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(f"model: {tiny_file}:build\ntarget: onnx\ninput_shapes: [[1, 3, 32, 32]]\n", encoding="utf-8")
    return str(path)


def test_every_cell_is_a_row_with_its_evidence_or_its_failure() -> None:
    text = matrix.report(_CELLS, "5 cells in 3.2 min, 2 at once")
    assert "5 cells in 3.2 min, 2 at once, 4 made, 1 failed" in text
    assert "| lsnet_t | onnx | fp32 | 101.3 dB | 101.3 dB | 45.6 MB | 22 s | 510, all on the CPU |" in text
    assert "| lsnet_t | executorch | fp32 | **lowering to executorch crashed (signal SIGSEGV)** | - | - | - | - |" in text
    assert "| lsnet_t | coreml | fp32 | not run: Core ML runs on macOS and iOS only |" in text
    assert "| lsnet_t | coreml | fp16 | 101.3 dB | 5.0 dB, too little: gather at x/y is 12.0 dB from fp32 | 0.0 MB |" in text
    own, golden = text.split("## Core ML under the golden weights")
    assert "| lsnet_t | fp32 | the golden vectors | 101.3 dB | 101.3 dB |" in golden
    for table in own, golden:
        assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1


def test_the_readme_s_table_is_replaced_and_nothing_else() -> None:
    begin, end = matrix.MARKS
    made = matrix.with_support(f"before\n{begin}\nold\n{end}\nafter", _CELLS)
    row = "| `lsnet_t` | 101 dB | fails | converts, not run here |"
    assert made == f"before\n{begin}\n| model | ONNX | ExecuTorch | Core ML |\n|---|---|---|---|\n{row}\n{end}\nafter"
    assert matrix.with_support(made, _CELLS) == made
    assert "support" in matrix.README.read_text(encoding="utf-8")
    matrix.with_support(matrix.README.read_text(encoding="utf-8"), _CELLS)


def test_a_readme_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="support"):
        matrix.with_support("nothing here", _CELLS)


def test_a_failing_cell_does_not_lose_the_others(
    tiny_recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(matrix, "TITLES", {"onnx": "ONNX"})
    before = matrix.REPORT.read_text(encoding="utf-8")
    assert matrix.main(["no_such_model", tiny_recipe]) == 1
    failed, made, took = capsys.readouterr().out.splitlines()[2:]
    assert "**unknown model 'no_such_model': no model has that name**" in failed
    assert "dB" in made
    assert ", all on the CPU |" in made
    assert took.startswith("2 cells in ")
    assert matrix.REPORT.read_text(encoding="utf-8") == before, "named models are printed alone"


def test_every_variant_has_its_cells_and_those_of_core_ml_under_the_golden_weights() -> None:
    assert list(matrix.requests("lsnet_t")) == [
        ("lsnet_t", "onnx", "fp32", False),
        ("lsnet_t", "executorch", "fp32", False),
        ("lsnet_t", "coreml", "fp16", False),
        ("lsnet_t", "coreml", "fp32", False),
        ("lsnet_t", "coreml", "fp16", True),
        ("lsnet_t", "coreml", "fp32", True),
    ]


def test_what_stays_outside_is_told_by_target_and_precision() -> None:
    report = Report("coreml", {"conv": 3, "gather": 2}, (), {}, (), (), largest_rank=4, findings=())
    assert matrix.outside(report, "fp16") == "5, rank 4 at most; may leave the Neural Engine: nothing"
    places = tuple(Place("gather", name, "", "picks") for name in ("a", "b"))
    gathers = Finding("ane-gather", "warning", "why", (), "mends", places)
    copies = Finding("ane-copies", "note", "why", (), "mends", (Place("reshape", "c", "", "copies"),))
    said = dataclasses.replace(report, findings=(gathers, copies))
    assert matrix.outside(said, "fp16").endswith(": gather 2")
    assert matrix.outside(said, "fp32").endswith(": all, in fp32")
    delegated = dataclasses.replace(report, findings=None, delegation=Delegation({"XnnpackBackend": 2}, 4, {"argmax": 1}))
    assert matrix.outside(delegated, "fp32") == "2 delegates; outside: argmax 1"
    assert matrix.outside(dataclasses.replace(report, findings=None), "fp32") == "5, all on the CPU"


@pytest.mark.slow
def test_executorch_and_core_ml_say_what_stays_outside(tiny_recipe: str) -> None:
    assert matrix.cell(tiny_recipe, "executorch", "fp32").operators == "1 delegate; outside: nothing"
    assert "may leave the Neural Engine: nothing" in matrix.cell(tiny_recipe, "coreml", "fp16").operators


def test_a_reduced_precision_is_told_beside_the_conversion() -> None:
    whole = Cell("m", "coreml", "fp32", _record(_PROVEN, _PROVEN))
    enough = _PROVEN.model_copy(update={"sqnr_db": 41.6})
    assert matrix.support([Cell("m", "coreml", "fp16", _record(_PROVEN, enough)), whole]) == "101 dB, fp16 42 dB"
    assert (
        matrix.support([Cell("m", "coreml", "fp16", _record(_PROVEN, _TOO_LITTLE)), whole]) == "101 dB, fp16 5 dB (too little)"
    )
    assert matrix.support([Cell("m", "coreml", "fp16", failure="crashed"), whole]) == "fails"
    assert matrix.support([whole]) == "101 dB"
