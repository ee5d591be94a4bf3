"""Xcode's metrics become measurements: every documented shape is read, damaged files are told for what they are."""

from __future__ import annotations

import copy
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Command, assert_error

from edgekit.errors import ArtifactError, InputError, UsageError
from edgekit.profiling import results
from edgekit.profiling.ingest import ingest

RECORDED = Path(__file__).parent / "xcresults"
FOUR = RECORDED / "four_configurations.json"


def _samples(test: int, run: int, metric: int = 0) -> list[float]:
    document = json.loads(FOUR.read_text(encoding="utf-8"))
    return list(document[test]["testRuns"][run]["metrics"][metric]["measurements"])


@pytest.mark.parametrize("name", ["four_configurations", "one_test", "names_only"])
def test_every_recorded_shape_is_read_and_survives_its_json(name: str, tmp_path: Path) -> None:
    found = ingest(RECORDED / f"{name}.json").measurements
    assert found
    results.write(tmp_path / "results.json", found)
    assert results.read(tmp_path / "results.json") == list(found)


def test_each_run_and_configuration_of_a_test_is_a_measurement() -> None:
    found = ingest(FOUR).measurements
    assert [(m.subject, m.fingerprint.runtime) for m in found[:4]] == [
        ("BenchmarkTests/testPredict()", f"Core ML ({units})")
        for units in ("all", "cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine")
    ]
    assert len(found) == 8
    assert len({m.job for m in found}) == 8, "nothing of this was interleaved"


def test_samples_keep_their_order_and_their_unit() -> None:
    [predicted, *_] = ingest(FOUR).measurements
    assert predicted.processes[0].latency_s == tuple(_samples(1, 0))
    assert predicted.p50_s.value == pytest.approx(statistics.median(_samples(1, 0)))
    [in_ms] = ingest(RECORDED / "names_only.json").measurements
    assert 0.0005 < in_ms.p50_s.value < 0.002


def test_loads_are_those_of_the_same_configuration() -> None:
    found = ingest(FOUR).measurements
    for run, measurement in enumerate(found[:4]):
        assert measurement.warm_load_s == pytest.approx(statistics.median(_samples(0, run)))
        assert measurement.cold_load_s is None


def test_loads_of_several_runs_are_taken_together(tmp_path: Path) -> None:
    document = json.loads(FOUR.read_text(encoding="utf-8"))
    repeated = copy.deepcopy(document[0]["testRuns"][0])
    repeated["metrics"][0]["measurements"] = [1.0] * 9
    document[0]["testRuns"].append(repeated)
    (tmp_path / "repeated.json").write_text(json.dumps(document), encoding="utf-8")
    assert ingest(tmp_path / "repeated.json").measurements[0].warm_load_s == pytest.approx(1.0)


def test_predictions_in_a_row_are_divided_by_their_number() -> None:
    in_a_row = ingest(FOUR).measurements[4]
    assert in_a_row.processes[0].latency_s == tuple(sample / 20 for sample in _samples(2, 0))
    assert in_a_row.conditions.mode == "sustained"
    assert "mean of 20 predictions" in in_a_row.conditions.inputs


def test_what_the_phone_is_and_where_it_is_from_is_told() -> None:
    [measurement, *_] = ingest(FOUR).measurements
    assert measurement.provenance == "ingested"
    assert measurement.source == str(FOUR)
    assert measurement.fingerprint.device == "iphone:00008140-0000000000000001"
    assert measurement.fingerprint.hardware == "iPhone 16e"
    assert measurement.fingerprint.os == "iOS 18.5"
    assert measurement.memory.process_peak_bytes == 55_266_424
    assert measurement.energy.status == "no_counter"
    assert measurement.parity is None


def test_what_no_field_holds_is_left_with_a_note() -> None:
    notes = ingest(FOUR).notes
    assert "in no measurement: CPU Cycles, CPU Instructions Retired, CPU Time, Memory Physical" in notes
    assert any("testLoad() is the load time" in note for note in notes)
    assert any("testParity() has runs without wall times" in note for note in ingest(RECORDED / "names_only.json").notes)


def _changed(tmp_path: Path, change: Callable[[Any], object]) -> Path:
    document = copy.deepcopy(json.loads((RECORDED / "one_test.json").read_text(encoding="utf-8")))
    change(document)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def _metric(document: Any, place: int = 0) -> Any:
    return document["testRuns"][0]["metrics"][place]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: _metric(d).update(measurements=[]), ["Clock Monotonic Time has no measurements", "testPredict(), run 1"]),
        (lambda d: _metric(d).update(unitOfMeasurement="fortnights"), ["'fortnights'", "testPredict(), run 1"]),
        (lambda d: _metric(d, -1).update(unitOfMeasurement="kiB"), ["Memory Peak Physical is in 'kiB'"]),
        (lambda d: _metric(d)["measurements"].__setitem__(2, float("nan")), ["0.testRuns.0.metrics.0.measurements.2"]),
        (lambda d: _metric(d)["measurements"].__setitem__(2, "0.1"), ["0.testRuns.0.metrics.0.measurements.2"]),
        (lambda d: _metric(d)["measurements"].__setitem__(2, None), ["0.testRuns.0.metrics.0.measurements.2"]),
        (lambda d: _metric(d)["measurements"].__setitem__(2, 0.0), ["sample 3, is 0 s"]),
        (lambda d: _metric(d)["measurements"].__setitem__(2, -1.0), ["sample 3, is -1 s"]),
        (lambda d: _metric(d).pop("unitOfMeasurement"), ["0.testRuns.0.metrics.0.unitOfMeasurement"]),
        (lambda d: d.pop("testIdentifier"), ["0.testIdentifier"]),
        (lambda d: d.pop("testRuns"), ["0.testRuns"]),
        (lambda d: d.update(testRuns=[]), ["holds no measurements of predictions"]),
        (lambda d: d["testRuns"][0].update(metrics=[]), ["holds no measurements of predictions"]),
        (lambda d: d.update(testIdentifier="BenchmarkTests/testLoad()"), ["holds no measurements of predictions"]),
    ],
)
def test_a_damaged_file_is_told_with_the_place(
    change: Callable[[Any], object], words: list[str], tmp_path: Path, edgekit: Command
) -> None:
    assert_error(edgekit("ingest", _changed(tmp_path, change)), 2, *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (FOUR.read_bytes()[:-200], ["is no JSON, or cut short", "line 1, column"]),
        (b"", ["is no JSON, or cut short"]),
        (b"[]", ["it lists no tests"]),
        (b"{}", ["0.testIdentifier"]),
        (b"[[]]", ["does not hold Xcode's performance metrics"]),
        (b"\xff\xfebplist", ["is no JSON", "not the .xcresult itself"]),
    ],
)
def test_what_is_no_such_file_is_told(content: bytes, words: list[str], tmp_path: Path, edgekit: Command) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)
    assert_error(edgekit("ingest", path), 2, *words)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        ingest(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="cannot read"):
        ingest(tmp_path)  # as a result bundle is a folder


@pytest.mark.parametrize(
    ("identifier", "is_load"),
    [("A/testLoad()", True), ("A/testModelLoading()", True), ("A/test_load()", True), ("A/testDownload()", False)],
)
def test_load_tests_are_known_by_their_name(identifier: str, is_load: bool, tmp_path: Path) -> None:
    path = _changed(tmp_path, lambda d: d.update(testIdentifier=identifier))
    if is_load:
        with pytest.raises(InputError, match="holds no measurements of predictions"):
            ingest(path)
    else:
        assert len(ingest(path).measurements) == 1


def test_a_simulator_is_not_taken_for_a_phone(tmp_path: Path) -> None:
    path = _changed(tmp_path, lambda d: d["testRuns"][0]["device"].update(platform="iOS Simulator"))
    assert any("not a phone's" in note for note in ingest(path).notes)


def test_an_artifact_that_is_not_core_ml_s_is_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot have been measured by Xcode's tests"):
        ingest(FOUR, tiny_artifact)
    with pytest.raises(ArtifactError, match="is not an edgekit artifact"):
        ingest(FOUR, tmp_path)


def test_the_command_writes_results_and_says_what_it_left(tmp_path: Path, edgekit: Command) -> None:
    done = edgekit("ingest", FOUR, "--output", tmp_path / "results.json")
    assert done.code == 0, done.err
    assert "Core ML (cpuAndNeuralEngine)" in done.out
    assert "in no measurement: CPU Cycles" in done.out
    assert len(results.read(tmp_path / "results.json")) == 8
    assert [m["provenance"] for m in edgekit("ingest", FOUR, "--json").json] == ["ingested"] * 8
