"""The operation at which a precision first is too little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import programs
from coremltools.converters import mil

from edgekit.runtimes.coreml_reference import loss

mb = mil.Builder


def _said(build: Any, x: np.ndarray, tmp_path: Path, bound_sqnr_db: float = 30.0) -> str:
    path = programs.save(build, tmp_path / "model.mlpackage", {"x": x})
    return loss.first(path, {"x": x}, bound_sqnr_db)


def test_an_overflow_is_named_with_its_range(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        return mb.sqrt(x=mb.square(x=mb.mul(x=x, y=np.float16(2), name="doubled"), name="squared"))

    said = _said(build, np.float16([1, 200, 300]), tmp_path)
    assert said == "square at squared has 2 of 3 values beyond what its type holds: up to 3.6e+05 in fp32"


def test_what_is_rounded_away_is_named_with_its_distance(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        return mb.sub(x=mb.add(x=x, y=np.float16(1000), name="raised"), y=np.float16(1000), name="lowered")

    said = _said(build, np.float16([0.1, 0.2, 0.3]), tmp_path)
    assert said.startswith("sub at lowered is ")
    assert "2 of 3 rounded to zero" in said


def test_enough_precision_says_nothing(tmp_path: Path) -> None:
    assert _said(lambda x: mb.mul(x=x, y=x), np.float16([1, 2, 3]), tmp_path) == ""
