"""Results files are read strictly, and become a DataFrame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

import edgekit
from edgekit.errors import InputError
from edgekit.profiling import results
from edgekit.profiling.measurement import DeviceParity, Measurement, Process

_Build = Callable[..., Measurement]


def test_results_are_a_frame_with_a_row_a_measurement(
    tmp_path: Path, measurement: _Build, process: Callable[..., Process]
) -> None:
    first = measurement([process([0.01] * 5), process([0.02] * 5)])
    second = measurement(subject="other.onnx", threads=4, parity=DeviceParity(60.0, 30.0, passed=True))
    results.write(tmp_path / "a.json", [first])
    results.write(tmp_path / "b.json", [second, dataclasses.replace(first, interrupted="lost")])
    frame = edgekit.load_results(tmp_path)
    assert list(frame["subject"]) == ["net.onnx", "other.onnx", "net.onnx"]
    assert list(frame["file"]) == [str(tmp_path / name) for name in ("a.json", "b.json", "b.json")]
    assert list(frame["fingerprint.threads"]) == [1, 4, 1]
    assert list(frame["p50_s.value"]) == [0.015, 0.01, 0.015]
    assert list(frame["runs"]) == [10, 40, 10]
    assert frame["latency_s"][0] == [0.01] * 5 + [0.02] * 5
    assert frame["parity.sqnr_db"].isna().tolist() == [True, False, True]
    assert "parity" not in frame.columns
    assert frame["interrupted"][2] == "lost"
    assert frame.equals(edgekit.load_results([tmp_path / "a.json", str(tmp_path / "b.json")]))
    assert frame.groupby("subject")["p50_s.value"].median()["other.onnx"] == 0.01


def test_what_holds_no_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no results"):
        edgekit.load_results(tmp_path)
    (tmp_path / "empty.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"empty\.json holds no measurements"):
        edgekit.load_results(tmp_path / "empty.json")
    with pytest.raises(InputError, match="cannot read results from"):
        edgekit.load_results(tmp_path / "none.json")
