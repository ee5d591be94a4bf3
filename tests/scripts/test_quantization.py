"""The report on quantization says what was made, what was refused, and whether what users are promised was kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import quantization
from quantization import Cell


def _cells() -> list[Cell]:
    original = Cell("net", "onnx", "", 4_000_000, top1=(80.0, 79.0, 81.0), images=100)
    return [
        original,
        Cell("net", "onnx", "int8", 1_000_000, (1.5, 1.4, 1.6), (79.6, 78.6, 80.6), (0.4, -0.1, 0.9), 98.0, 25.0, 100),
        Cell("net", "onnx", "int4-weight", 500_000, (1.0, None, None), (78.0, 77.0, 79.0), (2.0, 1.5, 2.5), 90.0, 15.0, 100),
        Cell("net", "onnx", "fp16", failure="target onnx does not compute in fp16"),
    ]


def test_the_report_holds_a_line_a_cell_and_why_others_have_none() -> None:
    text = quantization.report(_cells(), "scripts/quantization checkpoints")
    assert "| net | ONNX | - | 4.00 MB | 1 | - | 80.0 % [79.0, 81.0] | - | - | - |" in text
    assert "| net | ONNX | int8 | 1.00 MB | 0.25 | 1.50x [1.40, 1.60] |" in text
    assert "- net, ONNX, fp16: target onnx does not compute in fp16" in text
    assert "| fp16 |" not in text


def test_what_a_scheme_may_cost_is_held_to_each_model() -> None:
    kept, missed = quantization.wanted(_cells())
    assert kept.endswith("at most 0.5 points: net yes, 0.40 [-0.10, 0.90]")
    assert missed.endswith("at most 1.0 points: net NO, 2.00 [1.50, 2.50]")


def test_a_checkpoint_is_told_by_how_it_was_trained() -> None:
    settings = {"model": "net", "input_size": 64, "first_size": 32, "epochs": 100.0, "minutes": 14.0, "bf16": True}
    last = {"epochs": 6.18, "accuracy": 0.8021, "judged_on": 10_000}
    told = quantization.trained({"settings": settings, "position": {"epochs": [last]}})
    assert told.startswith("`net --input-size 64 --first-size 32 --epochs 100 --minutes 14 --bf16`: 6.2 epochs, 80.2 % of")


def test_each_checkpoint_is_named_and_where_it_was_used_if_there_are_two() -> None:
    first = [replace(cell, checkpoint="`net --minutes 14`") for cell in _cells()]
    second = [replace(cell, target="executorch", checkpoint="`net --minutes 20`") for cell in _cells()]
    assert list(quantization.checkpoints(first)) == ["- `net --minutes 14`"]
    assert list(quantization.checkpoints([*first, *second])) == [
        "- `net --minutes 14` (ONNX)",
        "- `net --minutes 20` (ExecuTorch)",
    ]


def test_cells_are_kept_as_they_were_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "KEPT", tmp_path / "quantization.jsonl")
    assert quantization.read() == []
    other = [replace(cell, model="another", target="coreml") for cell in _cells()]
    quantization.write([*_cells(), *other])
    assert quantization.read() == [*other, *_cells()]


def test_a_cell_can_be_made_alone_and_leaves_its_original() -> None:
    assert quantization.asked_for(["net:onnx:int8"], "net", "onnx") == ["int8"]
    assert quantization.asked_for(["net:onnx:int8"], "net", "coreml") == []
    assert quantization.asked_for(["net:onnx"], "net", "onnx") == list(quantization.SCHEMES)
    original, int8, *others = _cells()
    made = [replace(original, size_bytes=1), replace(int8, size_bytes=2)]
    assert quantization.updated(_cells(), made, whole=False) == [original, made[1], *others]
    assert quantization.updated([], made, whole=True) == made


def test_only_what_there_is_can_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "weights.pth").touch()
    for named in ("another", "net:tflite", "net:onnx:int9"):
        with pytest.raises(SystemExit) as stopped:
            quantization.main([str(tmp_path), "--data", "images.npz", "--only", named])
        assert stopped.value.code == 2
        assert f"--only {named} names nothing to make" in capsys.readouterr().err
