"""`edgekit inspect`: what it prints for people and for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
from commands import Command, assert_error
from coremltools.converters import mil

from edgekit import api
from edgekit.inspection import Elsewhere, Placement, Report, table

pytestmark = pytest.mark.slow

mb = mil.Builder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def build(x: Any) -> Any:
        return mb.reduce_sum(x=mb.softplus(x=mb.gather(x=x, indices=np.int32([0, 2]), axis=1)), axes=[3], keep_dims=True)

    return programs.save(build, tmp_path_factory.mktemp("saved") / "m.mlpackage", {"x": np.zeros((1, 3, 8, 8), np.float16)})


def test_an_onnx_artifact_is_told(edgekit: Command, tiny_artifact: Path) -> None:
    done = edgekit("inspect", tiny_artifact)
    assert (done.code, done.err) == (0, "")
    for words in (
        "onnx, ",
        "5: Conv 1, ",
        "x: float32 [1, 3, 32, 32]",
        "conv_weight ",
        "not applicable: the linter reads Core ML",
    ):
        assert words in done.out, words
    assert "estimated: weights" in done.out
    assert "\x1b" not in done.out


def test_json_of_an_inspection_is_the_report(edgekit: Command, tiny_artifact: Path) -> None:
    found = edgekit("inspect", tiny_artifact, "--json").json
    assert found["subject"] == str(tiny_artifact)
    assert found["operators"]["Conv"] == 1
    assert found["weights"][0] == {"name": "conv_weight", "dtype": "float32", "shape": [8, 3, 3, 3], "size_bytes": 864}
    assert found["weights_bytes"] == sum(weight["size_bytes"] for weight in found["weights"])
    for field, value in found.items():
        assert (value is None) == (field in found["unknown"]), field


def test_findings_come_gravest_first_with_their_places_and_what_mends_them(edgekit: Command, package: Path) -> None:
    done = edgekit("inspect", package)
    assert (done.code, done.err) == (0, "")
    rules = [line.split()[0] for line in done.out.splitlines() if " error " in line or " warning " in line or " note " in line]
    assert rules == ["fp16-softplus", "ane-gather", "ane-last-axis"]
    assert "gather_0: picks from 1x3x8x8" in done.out
    assert "mends: The pass `join_gathers`" in done.out
    assert "The linter is a heuristic" in done.out
    assert "not known: only a Mac has Core ML's compute plan" in done.out
    found = edgekit("inspect", package, "--json").json
    [gather] = [finding for finding in found["findings"] if finding["rule"] == "ane-gather"]
    assert gather["places"][0]["found"] == "picks from 1x3x8x8"
    assert gather["sources"]


def test_a_package_without_findings_is_told(edgekit: Command, tmp_path: Path) -> None:
    x = np.zeros((1, 4, 8, 64), np.float16)
    path = programs.save(lambda x: mb.relu(x=x), tmp_path / "m.mlpackage", {"x": x})
    assert "The linter found nothing." in edgekit("inspect", path).out


@pytest.mark.parametrize("name", ["nowhere", "nowhere.pte"])
def test_what_is_not_there_is_told(edgekit: Command, tmp_path: Path, name: str) -> None:
    assert_error(edgekit("inspect", tmp_path / name), 2, "not an edgekit artifact", "no such directory")
    assert edgekit("inspect", tmp_path / name, "--json").json["exit_code"] == 2


def test_a_plan_is_shown(package: Path) -> None:
    import dataclasses

    plan = Placement(
        {"neural_engine": 2, "cpu": 1}, {"neural_engine": 0.75, "cpu": 0.25}, (Elsewhere("gather", "g", "cpu", ("cpu",), 0.25),)
    )
    report: Report = dataclasses.replace(api.inspect(package), placement=plan)
    rows = dict(table.summary(report))
    assert (
        rows["placement"]
        == "Core ML's compute plan on this machine: neural_engine 2 (75% of the cost), cpu 1 (25% of the cost)"
    )
    assert table.elsewhere(report) == ["gather at g: cpu (cpu can), cost 25.0%"]
