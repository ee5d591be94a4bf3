"""Verdicts: the interval decides, facts decide without one, and what was not proved is never passed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from evaluations import beside

from edgekit.errors import UsageError
from edgekit.gate.results import Result
from edgekit.gate.verdicts import Report, Verdict
from edgekit.profiling.measurement import DeviceParity, Energy, Estimate, Measurement, Memory, Model, Process

_Build = Callable[..., Measurement]
_MakeProcess = Callable[..., Process]
_Judge = Callable[..., Report]
_One = Callable[..., Verdict]


def _spread(around_s: float, seed: int = 0, runs: int = 100) -> list[float]:
    return list(around_s * np.exp(0.02 * np.random.default_rng(seed).standard_normal(runs)))


@pytest.fixture
def measured(measurement: _Build, process: _MakeProcess) -> _Build:
    """Three processes of 100 runs around 10 ms."""

    def build(around_s: float = 0.01, of_process: dict[str, Any] | None = None, **changes: Any) -> Measurement:
        processes = [process(_spread(around_s, seed), **(of_process or {})) for seed in range(3)]
        return measurement(processes, **changes)

    return build


@pytest.mark.parametrize(("limit_ms", "outcome"), [(11, "PASS"), (9, "FAIL"), (10, "INCONCLUSIVE")])
@pytest.mark.parametrize("key", ["latency_p50_ms", "latency_p90_ms"])
def test_the_interval_decides(measured: _Build, verdict: _One, key: str, limit_ms: float, outcome: str) -> None:
    p90_over_p50 = 1.026 if key == "latency_p90_ms" else 1
    found = verdict({key: limit_ms * p90_over_p50}, measured())
    assert found.outcome == outcome
    low, high = found.check.estimate.low, found.check.estimate.high
    assert (low <= limit_ms * p90_over_p50 <= high) == (outcome == "INCONCLUSIVE")


def test_each_batch_has_its_budget(measured: _Build, judge: _Judge) -> None:
    usual = measured(0.01, input_shapes={"x": (1, 3, 8, 8)})
    eight = measured(0.06, input_shapes={"x": (8, 3, 8, 8)}, batch=8)
    entries = [{"batch": 1, "latency_p50_ms": 11}, {"batch": 8, "latency_p50_ms": 66}, {"size_mb": 2}]
    report = judge(entries, [usual, eight])
    assert [(one.outcome, one.check.result.batch) for one in report.verdicts if one.check.result] == [
        ("PASS", batch) for batch in (1, 8, 1, 8)
    ]
    assert judge([{"latency_p50_ms": 66}], [eight]).outcome == "PASS"
    assert judge([{"latency_p50_ms": 66}], [eight, measured(name="another")]).outcome == "PASS"
    with pytest.raises(UsageError, match=r"budget 2 speaks of net\.onnx in batches of 1 and 8") as caught:
        judge([{"batch": 1, "size_mb": 2}, {"latency_p50_ms": 66}], [usual, eight])
    assert caught.value.next_step.startswith("add `batch: N` to it")


def test_a_baseline_is_of_the_same_batch(measured: _Build, verdict: _One) -> None:
    limit = {"latency_p50_ms": {"relative": 2}}
    eight, usual = measured(batch=8), measured(input_shapes={"x": (1, 3, 8, 8)})
    assert verdict(limit, eight, usual).reason == "the baseline has no result of this model"
    assert verdict(limit, measured(batch=1), usual).outcome == "PASS"


def test_a_figure_without_an_interval_decides_nothing_and_says_why(measured: _Build, verdict: _One) -> None:
    assert verdict({"latency_p99_ms": 1000}, measured()).outcome == "PASS"  # 300 runs bound it
    short = dataclasses.replace(measured(), p99_s=Estimate(0.01, None, None, "an interval takes 299 runs, there are 40"))
    found = verdict({"latency_p99_ms": 1000}, short)
    assert (found.outcome, found.reason) == ("INCONCLUSIVE", "an interval takes 299 runs, there are 40")


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        ({"size_mb": 1}, "PASS"),
        ({"size_mb": 0.999}, "FAIL"),
        ({"operators": 12}, "PASS"),
        ({"operators": 11}, "FAIL"),
        ({"delegated_fraction": 0.75}, "PASS"),
        ({"delegated_fraction": 0.76}, "FAIL"),
    ],
)
def test_facts_decide_without_an_interval(measured: _Build, verdict: _One, limits: dict[str, float], outcome: str) -> None:
    assert verdict(limits, measured(operators=12, delegated_fraction=0.75)).outcome == outcome


def test_what_the_measurement_does_not_tell_is_inconclusive_with_its_reason(measured: _Build, verdict: _One) -> None:
    run = measured(of_process={"memory": Memory(), "load_was_cold": False, "first_run_s": None})
    reasons = {
        "energy_mj": "not requested: give --energy to measure it",
        "memory_mb": "the device did not tell what the run took",
        "cold_load_ms": "no load was cold",
        "first_run_ms": "the device did not time the first run",
        "delegated_fraction": "its format has no delegates",
        "accuracy_drop": "no accuracy result was given",
    }
    found = {key: verdict({key: 0.5}, run) for key in reasons}
    assert {one.outcome for one in found.values()} == {"INCONCLUSIVE"}
    assert {key: one.reason for key, one in found.items()} == reasons


def test_what_each_process_tells_once_is_judged_by_how_processes_differ(
    measurement: _Build, process: _MakeProcess, verdict: _One
) -> None:
    run = measurement([process([0.01] * 20, load_s=load_s) for load_s in (0.100, 0.102, 0.098)])
    assert verdict({"cold_load_ms": 120}, run).outcome == "PASS"
    assert verdict({"cold_load_ms": 80}, run).outcome == "FAIL"
    found = verdict({"cold_load_ms": 103}, run)
    assert found.outcome == "INCONCLUSIVE"
    # Student's t of three logarithms: 4.303 s / sqrt(3) on either side.
    half = 4.3027 * np.std(np.log([0.100, 0.102, 0.098]), ddof=1) / np.sqrt(3)
    assert np.log(found.check.estimate.high / found.check.estimate.value) == pytest.approx(half, rel=1e-4)
    once = measurement([process([0.01] * 20, load_was_cold=cold) for cold in (True, False)])
    assert "a single value tells nothing of its spread" in verdict({"cold_load_ms": 1000}, once).reason


def test_energy_is_gross_and_a_single_reading_decides_nothing(measured: _Build, verdict: _One) -> None:
    run = measured(energy=Energy("measured", gross_j=0.004, net_j=0.001, meter="rapl"))
    found = verdict({"energy_mj": 5}, run)
    assert found.outcome == "INCONCLUSIVE"
    assert found.check.estimate.value == pytest.approx(4)
    several = Result(run.subject, "collected", run.model, run, energy_j=(0.0040, 0.0041, 0.0039))
    assert verdict({"energy_mj": 5}, several).outcome == "PASS"
    assert verdict({"energy_mj": 3}, several).outcome == "FAIL"


@pytest.mark.parametrize("limit_ms", [1, 1000])
def test_an_interpreters_time_decides_nothing(measured: _Build, verdict: _One, limit_ms: float) -> None:
    interpreted = measured(runtime="coremltools reference interpreter")
    assert interpreted.reference_timing
    for key in ("latency_p50_ms", "latency_p99_ms", "cold_load_ms", "memory_mb"):
        found = verdict({key: limit_ms}, interpreted)
        assert found.outcome == "INCONCLUSIVE"
        assert found.reason.startswith("reference timing")
    assert verdict({"size_mb": 2}, interpreted).outcome == "PASS"


@pytest.mark.parametrize("limit_ms", [1, 1000])
def test_a_model_that_computes_something_else_on_its_device_is_not_judged_by_its_speed(
    measured: _Build, verdict: _One, limit_ms: float
) -> None:
    found = verdict({"latency_p50_ms": limit_ms}, measured(parity=DeviceParity(12.3, 30.0, passed=False)))
    assert found.outcome == "INCONCLUSIVE"
    assert found.reason == "it computes something else on this device: 12.3 dB of the 30 dB wanted"


def test_a_run_that_did_not_end_may_fail_but_not_pass(measured: _Build, verdict: _One) -> None:
    cut = measured(interrupted="the phone is gone")
    passing, failing = verdict({"latency_p50_ms": 20}, cut), verdict({"latency_p50_ms": 5}, cut)
    assert (passing.outcome, failing.outcome) == ("INCONCLUSIVE", "FAIL")
    assert passing.reason == "within the budget as far as it ran, which proves no pass"
    assert failing.check.notes == ("interrupted: the phone is gone; judged by the 300 runs until then",)
    assert verdict({"size_mb": 2}, cut).outcome == "PASS"


@pytest.mark.parametrize("provenance", ["replayed", "ingested"])
def test_what_was_not_measured_now_is_judged_and_labelled(measured: _Build, verdict: _One, provenance: str) -> None:
    found = verdict({"latency_p50_ms": 20}, measured(provenance=provenance, source="session.jsonl"))
    assert found.outcome == "PASS"
    assert found.check.notes == (f"{provenance} from session.jsonl",)


def test_what_was_not_steady_is_decided_by_its_blocks(measurement: _Build, process: _MakeProcess, verdict: _One) -> None:
    rising = [sample * (1 + 0.5 * place / 100) for place, sample in enumerate(_spread(0.01))]
    run = measurement([process(rising, block_runs=(20,) * 5, steady=False)] * 2)
    assert run.p50_s.high is not None
    assert run.p50_s.high < 0.0138
    found = verdict({"latency_p50_ms": 13.8}, run)
    assert found.outcome == "INCONCLUSIVE"
    assert found.check.notes == ("not steady after the warm-up: the interval is as wide as its blocks differ",)
    assert verdict({"latency_p50_ms": 15.5}, run).outcome == "PASS"
    assert verdict({"latency_p50_ms": 9}, run).outcome == "FAIL"
    few = measurement([process(rising, block_runs=(50, 50), steady=False)] * 2)
    assert verdict({"latency_p50_ms": 1000}, few).reason == "not steady after the warm-up, and only 4 blocks of runs"


def test_latencies_in_which_another_program_ran_prove_no_failure(measured: _Build, verdict: _One) -> None:
    calm, busy = measured(), measured(of_process={"waited_share": 0.2})
    for key in ("latency_p50_ms", "latency_p99_ms"):
        assert verdict({key: 8}, calm).outcome == "FAIL"
        found = verdict({key: 8}, busy)
        assert found.outcome == "INCONCLUSIVE"
        assert found.check.notes == ("another program had the core 20.0% of the time: the lower end allows for it",)
        assert verdict({key: 20}, busy).outcome == "PASS"
    assert verdict({"latency_p50_ms": 5}, busy).outcome == "FAIL"  # even so: 10 ms is 6.6 ms and half as much delay, at worst


def test_selectors_mean_exact_names_the_transport_and_the_hardware(measured: _Build, judge: _Judge) -> None:
    phone = measured(device="android:ABC", hardware="Pixel 8", threads=4, quantization="int8", subject="out/net-onnx")
    meant = [
        {"model": "net"},
        {"target": "onnx"},
        {"device": "android:ABC"},
        {"device": "android"},
        {"device": "Pixel 8"},
        {"threads": 4},
        {"quantization": "int8"},
        {"subject": "net-onnx"},
        {"subject": "out/net-onnx"},
        {},
    ]
    others = [
        {"model": "ne"},
        {"device": "Pixel"},
        {"device": "host"},
        {"threads": 1},
        {"precision": "fp16"},
        {"subject": "out"},
    ]
    report = judge([{**selectors, "size_mb": 2} for selectors in (*meant, *others)], [phone])
    assert [one.outcome for one in report.verdicts] == ["PASS"] * len(meant) + ["INCONCLUSIVE"] * len(others)
    assert report.verdicts[len(meant)].reason == "no result has the model ne (did you mean net?)"
    assert report.verdicts[len(meant) + 2].reason == "no result has the device host (there is Pixel 8, android, android:ABC)"
    assert report.verdicts[len(meant) + 4].reason == "no result has the precision fp16 (none tells it)"


def test_selectors_that_hold_apart_but_not_together_are_said(measured: _Build, judge: _Judge) -> None:
    report = judge(
        [{"model": "a", "target": "coreml", "size_mb": 2}, {"size_mb": 5}], [measured(name="a"), measured(target="coreml")]
    )
    assert report.verdicts[0].reason == "no result has all it selects by at once"


def test_no_match_at_all_is_an_error(measured: _Build, judge: _Judge) -> None:
    with pytest.raises(UsageError, match="no budget speaks of what was given") as caught:
        judge([{"model": "nett", "size_mb": 2}, {"target": "coreml", "size_mb": 1}], [measured()])
    assert "budget 1: no result has the model nett (did you mean net?)" in caught.value.cause
    assert "budget 2: no result has the target coreml (there is onnx)" in caught.value.cause


def test_the_gravest_verdict_is_that_of_the_run_and_what_no_budget_speaks_of_is_told(measured: _Build, judge: _Judge) -> None:
    passing, undecided, failing = {"size_mb": 2}, {"energy_mj": 2}, {"latency_p50_ms": 1}
    codes = [
        judge([passing], [measured()]).exit_code,
        judge([passing, undecided], [measured()]).exit_code,
        judge([failing, undecided, passing], [measured()]).exit_code,
    ]
    assert codes == [0, 3, 1]
    report = judge([{"model": "net", "size_mb": 2}], [measured(), measured(name="stranger", subject="s.onnx")])
    assert [result.subject for result in report.uncovered] == ["s.onnx"]
    assert report.as_dict()["uncovered"] == [{"subject": "s.onnx", "source": "results.json"}]


def test_an_artifact_alone_is_judged_by_its_facts_and_measurements_by_the_rest(measured: _Build, judge: _Judge) -> None:
    budget = {"model": "net", "device": "host", "size_mb": 2, "latency_p50_ms": 20, "accuracy_drop": 1}
    model = Model("net", "onnx", size_bytes=10**6)
    artifact = Result("net-onnx", "net-onnx", model)
    evaluation = Result("net-onnx", "accuracy.json", model, against=beside(Estimate(0.4, 0.1, 0.9)))
    alone = judge([budget], [artifact])
    assert [one.outcome for one in alone.verdicts] == ["INCONCLUSIVE", "PASS", "INCONCLUSIVE"]
    assert alone.verdicts[0].reason == "nothing was measured: give results, or --collect them"
    together = judge([budget], [artifact, evaluation, measured()])
    assert {(one.check.key, one.outcome) for one in together.verdicts} == {
        ("size_mb", "PASS"),
        ("latency_p50_ms", "PASS"),
        ("accuracy_drop", "PASS"),
    }
    assert len(together.verdicts) == 4  # both the artifact and the measurement tell the size
    assert judge([{"accuracy_drop": 0.05}], [evaluation]).verdicts[0].outcome == "FAIL"
    assert judge([{"accuracy_drop": 0.5}], [evaluation]).verdicts[0].outcome == "INCONCLUSIVE"
