"""`edgekit gate` from files to exit codes, with real measurements."""

from __future__ import annotations

import dataclasses
import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import Command, assert_error
from evaluations import accuracy, beside

from edgekit.profiling import results
from edgekit.profiling.measurement import Estimate, Measurement, Process

_Write = Callable[[str], Path]
_Build = Callable[..., Measurement]


@pytest.fixture
def result_file(tmp_path: Path, measurement: _Build, process: Callable[..., Process]) -> Path:
    """Two processes around 10.1 ms."""
    path, generator = tmp_path / "results.json", np.random.default_rng(0)
    processes = [process((0.0101 * np.exp(0.01 * generator.standard_normal(100))).tolist()) for _ in range(2)]
    results.write(path, [measurement(processes)])
    return path


@pytest.mark.parametrize(("limit_ms", "code"), [(12, 0), (9, 1), (10.1, 3)])
def test_the_exit_code_is_the_answer(
    edgekit: Command, write_budgets: _Write, result_file: Path, limit_ms: float, code: int
) -> None:
    done = edgekit("gate", "--budget", write_budgets(f" - {{model: net, latency_p50_ms: {limit_ms}}}"), result_file)
    assert done.code == code
    outcome = {0: "PASS", 1: "FAIL", 3: "INCONCLUSIVE"}[code]
    assert f"{outcome}: 1 {outcome}" in done.out
    assert f"latency_p50_ms <= {limit_ms:g}" in done.out


def test_json_is_json_and_nothing_else(edgekit: Command, write_budgets: _Write, result_file: Path) -> None:
    done = edgekit("gate", "--json", "--budget", write_budgets(" - {latency_p50_ms: 9, size_mb: 2}"), result_file)
    assert (done.code, done.json["exit_code"], done.json["verdict"]) == (1, 1, "FAIL")
    [latency, size] = done.json["verdicts"]
    assert latency["measured"]["value"] == pytest.approx(10.1, rel=0.01)
    assert latency["measured"]["low"] <= latency["measured"]["value"] <= latency["measured"]["high"]
    assert (latency["limit"], latency["bound"], latency["verdict"]) == ("latency_p50_ms", 9.0, "FAIL")
    assert (size["measured"]["low"], size["verdict"]) == (1.0, "PASS")


def test_every_output_is_written(edgekit: Command, write_budgets: _Write, result_file: Path, tmp_path: Path) -> None:
    junit, markdown = tmp_path / "gate.xml", tmp_path / "gate.md"
    budget = write_budgets(" - {latency_p50_ms: 9}")
    for _ in range(2):
        done = edgekit("gate", "--budget", budget, "--junit", junit, "--summary", markdown, "--annotations", result_file)
        assert done.code == 1
    assert len(list(ET.parse(junit).getroot().iter("failure"))) == 1
    assert markdown.read_text(encoding="utf-8").count("## edgekit gate: FAIL") == 1
    assert f"::error file={budget},title=FAIL%3A latency_p50_ms <= 9::net.onnx on host: " in done.out


def test_a_steps_summary_is_added_to(
    edgekit: Command, write_budgets: _Write, result_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "step.md"
    path.write_text("# before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    assert edgekit("gate", "--budget", write_budgets(" - {size_mb: 2}"), "--summary", path, result_file).code == 0
    assert path.read_text(encoding="utf-8").startswith("# before\n## edgekit gate: PASS\n")


def test_an_artifact_is_gated_without_measuring_and_beside_results_in_a_folder(
    edgekit: Command, write_budgets: _Write, tiny_artifact: Path, result_file: Path, tmp_path: Path
) -> None:
    facts = " - {model: tiny_build, target: onnx, size_mb: 0.1, operators: 20}"
    assert edgekit("gate", "--budget", write_budgets(facts), tiny_artifact).code == 0
    assert edgekit("gate", "--budget", write_budgets(facts.replace("0.1", "0.0001")), tiny_artifact).code == 1
    folder = tmp_path / "all of it"
    shutil.copytree(tiny_artifact, folder / tiny_artifact.name)
    shutil.copy(result_file, folder)
    budget = write_budgets(f"{facts}\n - {{model: net, latency_p50_ms: 12}}")
    done = edgekit("gate", "--json", "--budget", budget, folder)
    assert done.code == 0, done
    assert [one["limit"] for one in done.json["verdicts"]] == ["size_mb", "operators", "latency_p50_ms"]


def test_an_evaluation_is_a_result(edgekit: Command, write_budgets: _Write, tmp_path: Path) -> None:
    path = tmp_path / "accuracy.json"
    reference, evaluated = accuracy("net", None), accuracy("net-onnx", beside(Estimate(0.3, 0.1, 0.45)))
    results.write(path, [reference, evaluated])
    assert edgekit("gate", "--budget", write_budgets(" - {model: net, accuracy_drop: 0.5}"), path).code == 0
    assert edgekit("gate", "--budget", write_budgets(" - {model: net, accuracy_drop: 0.4}"), path).code == 3
    assert edgekit("gate", "--budget", write_budgets(" - {model: net, accuracy_drop: 0.05}"), path).code == 1
    results.write(path, [accuracy("net-onnx", beside(None))])
    done = edgekit("gate", "--budget", write_budgets(" - {model: net, accuracy_drop: 0.4}"), path)
    assert done.code == 3
    assert "have no labels" in done.out
    broken = evaluated.as_dict()
    broken["against"]["accuracy_drop_points"] = 0.3
    path.write_text(json.dumps([broken]), encoding="utf-8")
    done = edgekit("gate", "--budget", write_budgets(" - {model: net, accuracy_drop: 0.4}"), path)
    assert_error(done, 2, "accuracy.json, evaluation 1 is not one", "against.accuracy_drop_points")


def test_what_cannot_be_read_is_an_error(edgekit: Command, write_budgets: _Write, result_file: Path, tmp_path: Path) -> None:
    budget = write_budgets(" - {size_mb: 2}")
    assert_error(edgekit("gate", "--budget", budget, tmp_path / "none.json"), 2, "none.json", "No such file")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_error(edgekit("gate", "--budget", budget, empty), 2, "empty holds no results")
    damaged = tmp_path / "damaged.json"
    damaged.write_text(result_file.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    assert_error(edgekit("gate", "--budget", budget, damaged), 2, "damaged.json")
    damaged.write_text("[]", encoding="utf-8")
    assert_error(edgekit("gate", "--budget", budget, damaged), 2, "damaged.json holds no measurements")
    old = json.loads(result_file.read_text(encoding="utf-8"))
    old[0]["schema_version"] = 1
    damaged.write_text(json.dumps(old), encoding="utf-8")
    assert_error(edgekit("gate", "--budget", budget, damaged), 2, "damaged.json, measurement 1", "schema_version")
    assert_error(edgekit("gate", "--budget", tmp_path / "none.yaml", result_file), 2, "none.yaml does not exist")
    strangers = write_budgets(" - {model: nett, size_mb: 2}")
    assert_error(edgekit("gate", "--budget", strangers, result_file), 2, "no budget speaks", "did you mean net?")


def test_options_that_do_nothing_or_clash_are_errors(
    edgekit: Command, write_budgets: _Write, result_file: Path, tmp_path: Path
) -> None:
    budget = write_budgets(" - {size_mb: 2}")
    assert_error(edgekit("gate", "--budget", budget, "--device", "host", result_file), 2, "--device is of use with --collect")
    assert_error(edgekit("gate", "--budget", budget, "-o", tmp_path / "o", result_file), 2, "--output is of use with --collect")
    done = edgekit("gate", "--budget", budget, "--json", "--annotations", result_file)
    assert (done.code, done.json["error"]) == (2, "UsageError")
    nowhere = tmp_path / "no" / "where.xml"
    assert_error(edgekit("gate", "--budget", budget, "--junit", nowhere, result_file), 2, "cannot write", "check --junit")
    assert_error(edgekit("gate", "--budget", budget, "--collect", "--cap-s", "-1", "lsnet_t"), 2, "cannot collect for -1.0 s")


def test_a_baseline_of_another_machine_is_refused(
    edgekit: Command, write_budgets: _Write, result_file: Path, tmp_path: Path, measurement: _Build
) -> None:
    before = tmp_path / "before.json"
    results.write(before, [measurement(cores=16)])
    budget = write_budgets(" - {latency_p50_ms: {relative: 1.05}}")
    done = edgekit("gate", "--budget", budget, "--baseline", before, result_file)
    assert_error(done, 2, "cannot be held to its baseline", "its cores is 2, the baseline's is 16")
    results.write(before, [dataclasses.replace(measurement(), job="before")])
    assert edgekit("gate", "--budget", budget, "--baseline", before, result_file).code == 0


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
def test_collecting_measures_until_it_is_decided(
    edgekit: Command, write_budgets: _Write, tiny_artifact: Path, tmp_path: Path
) -> None:
    budget = write_budgets(
        """
 - {model: tiny_build, device: host, latency_p50_ms: 10000, memory_mb: 100000, size_mb: 1}
 - {model: tiny_build, latency_p50_ms: {relative: 1.0e+9}, size_mb: {relative: 1}}
 - {model: nobody, latency_p50_ms: 1}
"""
    )
    kept = tmp_path / "kept.json"
    done = edgekit(
        "gate", "--budget", budget, "--collect", "--cap-s", 60, "-o", kept, "--json", "--baseline", tiny_artifact, tiny_artifact
    )
    assert done.code == 3, done
    assert [one["verdict"] for one in done.json["verdicts"]] == ["PASS"] * 5 + ["INCONCLUSIVE"], done.json
    measured = results.read(kept)
    assert len(measured) == 2
    assert all(len(one.processes) >= 2 for one in measured)


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
def test_collecting_runs_the_batch_that_a_budget_names(
    edgekit: Command, write_budgets: _Write, tiny_artifact: Path, tmp_path: Path
) -> None:
    budget = write_budgets(" - {batch: 1, latency_p50_ms: 10000}")
    done = edgekit("gate", "--budget", budget, "--collect", "-o", tmp_path / "kept.json", tiny_artifact)
    assert done.code == 0, done
    assert results.read(tmp_path / "kept.json")[0].conditions.batch == 1
    both = write_budgets(" - {latency_p90_ms: 10000}\n - {batch: 1, latency_p50_ms: 10000}")
    done = edgekit("gate", "--budget", both, "--collect", tiny_artifact)
    assert_error(done, 2, "budget 1 speaks of", "in batches of 1 and its example's size", "add `batch: N`")


@pytest.mark.slow
def test_what_needs_no_device_is_not_measured_when_collecting(
    edgekit: Command, write_budgets: _Write, tiny_artifact: Path
) -> None:
    budget = write_budgets(" - {model: tiny_build, device: 'android:none', size_mb: 1}")
    done = edgekit("gate", "--budget", budget, "--collect", tiny_artifact)
    assert done.code == 0, done
    assert "PASS: 1 PASS" in done.out


def test_the_workflow_in_the_documentation_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```yaml\n")[1:]]
    [workflow] = [found for found in map(yaml.safe_load, blocks) if "jobs" in found]
    assert {"on", True} & set(workflow)  # YAML 1.1 reads a bare `on` as true
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        assert any("edgekit gate" in step.get("run", "") for step in job["steps"])
    from edgekit.gate.budgets import Budgets

    for found in map(yaml.safe_load, blocks):
        if "budgets" in found:
            Budgets.model_validate(found)
