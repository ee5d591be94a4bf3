"""The operation at which a program first departs from what its results should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
import torch
from coremltools.converters import mil

from edgekit.runtimes.coreml_reference import departures, package
from edgekit.runtimes.coreml_reference.departures import Departure, Walk
from edgekit.runtimes.coreml_reference.interpreter import Program

pytestmark = pytest.mark.slow

mb = mil.Builder


def _function(build: Any, x: np.ndarray, tmp_path: Path) -> package.Function:
    return package.load(programs.save(build, tmp_path / "model.mlpackage", {"x": x}))


def _lost(build: Any, x: np.ndarray, tmp_path: Path) -> Departure | None:
    """Where computing as declared loses what fp32 keeps."""
    function, inputs = _function(build, x, tmp_path), {"x": torch.from_numpy(x)}
    expected = departures.results(Program(function, "fp32"), inputs)
    return departures.walk(Program(function, "declared"), inputs, expected, 30.0, afresh=False).culprit


def test_an_overflow_is_told_with_its_range(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        return mb.sqrt(x=mb.square(x=mb.mul(x=x, y=np.float16(2), name="doubled"), name="squared"))

    found = _lost(build, np.float16([1, 200, 300]), tmp_path)
    assert found is not None
    assert str(found) == "square at squared has 2 of 3 values beyond what its type holds: up to 3.6e+05 in fp32"
    assert (found.overflowed, found.inf, found.nan, found.underflowed) == (2, 2, 0, 0)
    assert found.expected_range == (4.0, 360000.0)
    assert found.found_range == (4.0, 4.0)


def test_what_is_rounded_away_is_told_with_its_distance(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        return mb.sub(x=mb.add(x=x, y=np.float16(1000), name="raised"), y=np.float16(1000), name="lowered")

    found = _lost(build, np.float16([0.1, 0.2, 0.3]), tmp_path)
    assert found is not None
    assert str(found).startswith("sub at lowered is ")
    assert "2 of 3 rounded to zero" in str(found)
    assert found.underflowed == 2


def test_enough_precision_has_no_culprit(tmp_path: Path) -> None:
    assert _lost(lambda x: mb.mul(x=x, y=x), np.float16([1, 2, 3]), tmp_path) is None


X = np.linspace(-1, 1, 12, dtype=np.float32)


def _walked(expected: dict[str, np.ndarray], tmp_path: Path, *, afresh: bool = True) -> Walk:
    """A program of four operations, whose results should be those expected."""

    def build(x: Any) -> Any:
        doubled = mb.mul(x=x, y=np.float32(2), name="doubled")
        raised = mb.add(x=doubled, y=np.float32(1), name="raised")
        return mb.sub(x=mb.exp(x=raised, name="grown"), y=doubled, name="last")

    function = _function(build, X, tmp_path)
    tensors = {name: torch.from_numpy(value) for name, value in expected.items()}
    return departures.walk(Program(function, "fp32"), {"x": torch.from_numpy(X)}, tensors, 60.0, afresh=afresh)


def _right() -> dict[str, np.ndarray]:
    return {"doubled": 2 * X, "raised": 2 * X + 1, "grown": np.exp(2 * X + 1), "last": np.exp(2 * X + 1) - 2 * X}


def test_what_is_right_has_no_culprit_and_agrees_everywhere(tmp_path: Path) -> None:
    found = _walked(_right(), tmp_path)
    assert found.culprit is None
    assert found.agreeing == {"doubled", "raised", "grown", "last"}
    assert found.weakest is not None
    assert found.weakest.sqnr_db > 100


def test_the_first_of_two_departures_is_the_culprit(tmp_path: Path) -> None:
    should = 2 * X + 3  # where the program adds 1
    found = _walked({**_right(), "raised": should, "grown": np.exp(should) * 2, "last": np.exp(should) * 2 - 2 * X}, tmp_path)
    assert found.culprit is not None
    assert (found.culprit.operator, found.culprit.result) == ("add", "raised")
    assert found.agreeing == {"doubled"}


def test_a_result_that_is_only_called_alike_is_no_departure(tmp_path: Path) -> None:
    """What is computed from it is right: it is another value under the same name."""
    found = _walked({**_right(), "raised": 5 * X}, tmp_path)
    assert found.culprit is None
    assert found.agreeing == {"doubled", "grown", "last"}


def test_operations_without_counterparts_are_told_beside_the_one_they_lead_to(tmp_path: Path) -> None:
    should = np.exp(2 * X + 3)
    found = _walked({"doubled": 2 * X, "grown": should, "last": should - 2 * X}, tmp_path)
    assert found.culprit is not None
    assert (found.culprit.result, found.culprit.between) == ("grown", ("raised",))


def test_each_operation_is_judged_by_itself_when_taken_afresh(tmp_path: Path) -> None:
    """Two errors of 66 dB each: together they miss 60 dB, none of them alone."""
    slightly = 2 * X * 1.0005
    grown = np.exp(slightly + 1) * 1.0006
    expected = {"doubled": slightly, "raised": slightly + 1, "grown": grown, "last": grown - slightly}
    afresh = _walked(expected, tmp_path)
    assert afresh.culprit is None
    assert afresh.weakest is not None
    assert afresh.weakest.result == "grown"
    accumulated = _walked(expected, tmp_path, afresh=False)
    assert accumulated.culprit is not None
    assert accumulated.culprit.result == "grown"


def test_infinities_that_are_expected_are_right(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        return mb.log(x=mb.relu(x=x, name="kept"), epsilon=np.float32(0), name="last")

    function = _function(build, X, tmp_path)
    with np.errstate(divide="ignore"):
        expected = {"last": torch.from_numpy(np.log(np.maximum(X, 0)))}
    found = departures.walk(Program(function, "fp32"), {"x": torch.from_numpy(X)}, expected, 60.0, afresh=True)
    assert found.culprit is None
    assert found.agreeing == {"last"}
    assert found.weakest is not None
    assert (found.weakest.inf, found.weakest.overflowed) == (6, 0)
