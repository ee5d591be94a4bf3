"""Relative limits: ratios with intervals, to the same model on the same thing and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.gate.results import Result
from edgekit.gate.verdicts import Report, Verdict
from edgekit.profiling.measurement import Measurement, Memory, Model, Process

_Build = Callable[..., Measurement]
_MakeProcess = Callable[..., Process]


@pytest.fixture
def measured(measurement: _Build, process: _MakeProcess) -> _Build:
    """Three processes of 100 runs, around 10 ms unless told."""

    def build(around_s: float = 0.01, seed: int = 0, of_process: dict[str, Any] | None = None, **changes: Any) -> Measurement:
        generator = np.random.default_rng(seed)
        series = [list(around_s * np.exp(0.02 * generator.standard_normal(100))) for _ in range(3)]
        return measurement([process(samples, **(of_process or {})) for samples in series], **changes)

    return build


@pytest.mark.parametrize("key", ["latency_p50_ms", "latency_p90_ms"])
@pytest.mark.parametrize(("around_s", "outcome"), [(0.0100, "PASS"), (0.0105, "INCONCLUSIVE"), (0.0115, "FAIL")])
def test_the_interval_of_the_ratio_decides(
    measured: _Build, verdict: Callable[..., Verdict], key: str, around_s: float, outcome: str
) -> None:
    found = verdict({key: {"relative": 1.05}}, measured(around_s, seed=1, job="b"), measured(seed=2))
    assert found.check.estimate.value == pytest.approx(around_s / 0.01, rel=0.02)
    assert found.outcome == outcome


def test_facts_have_exact_ratios_and_a_minimum_stays_one(measured: _Build, verdict: Callable[..., Verdict]) -> None:
    small, large = (
        measured(size_bytes=size, operators=10, delegated_fraction=share) for size, share in ((100, 0.5), (101, 0.4))
    )
    assert verdict({"size_mb": {"relative": 1.01}}, large, small).outcome == "PASS"
    assert verdict({"size_mb": {"relative": 1.0}}, large, small).outcome == "FAIL"
    assert verdict({"operators": {"relative": 1.0}}, large, small).outcome == "PASS"
    assert verdict({"delegated_fraction": {"relative": 0.8}}, large, small).outcome == "PASS"
    assert verdict({"delegated_fraction": {"relative": 0.9}}, large, small).outcome == "FAIL"


def test_there_is_no_ratio_to_nothing(measured: _Build, verdict: Callable[..., Verdict]) -> None:
    mine, none = (measured(delegated_fraction=share, of_process={"memory": Memory(share)}) for share in (1, 0))
    for key in ("delegated_fraction", "memory_mb"):
        found = verdict({key: {"relative": 1.5}}, mine, none)
        assert (found.outcome, found.reason) == ("INCONCLUSIVE", "there is no ratio to what is not above zero")
        assert found.as_dict()["measured"] is None


def test_quantities_of_processes_have_ratios_too(
    measurement: _Build, process: _MakeProcess, verdict: Callable[..., Verdict]
) -> None:
    def run(peaks: list[int], job: str) -> Measurement:
        return measurement([process([0.01] * 20, memory=Memory(run_peak_bytes=peak)) for peak in peaks], job=job)

    before, after = run([100, 101, 99], "a"), run([120, 121, 119], "b")
    assert verdict({"memory_mb": {"relative": 1.3}}, after, before).outcome == "PASS"
    assert verdict({"memory_mb": {"relative": 1.1}}, after, before).outcome == "FAIL"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"device": "ssh:pi@board"}, "its device is host, the baseline's is ssh:pi@board"),
        ({"hardware": "Processor 2"}, "its hardware is Processor 1, the baseline's is Processor 2"),
        ({"os": "Linux 7"}, "its os is Linux 6 x86_64, the baseline's is Linux 7"),
        ({"cpu": "Processor 2"}, "its cpu is Processor 1, the baseline's is Processor 2"),
        ({"cpu_flags": ("avx2", "avx512f")}, "its cpu_flags is ('avx2',), the baseline's is ('avx2', 'avx512f')"),
        ({"cores": 4}, "its cores is 2, the baseline's is 4"),
        ({"gpu": "H"}, "its gpu is None, the baseline's is H"),
        ({"threads": 2}, "its threads is 1, the baseline's is 2"),
        ({"runtime": "onnxruntime 2"}, "its runtime is onnxruntime 1, the baseline's is onnxruntime 2"),
    ],
)
def test_a_baseline_from_something_else_is_refused(
    measured: _Build, verdict: Callable[..., Verdict], change: dict[str, object], named: str
) -> None:
    with pytest.raises(UsageError, match=r"net\.onnx cannot be held to its baseline") as caught:
        verdict({"latency_p50_ms": {"relative": 1.05}}, measured(), measured(**change))
    assert caught.value.cause.startswith(named)
    assert caught.value.exit_code == 2
    assert verdict({"size_mb": {"relative": 1.05}}, measured(), measured(**change)).outcome == "PASS"


def test_the_one_of_several_that_was_measured_alike_is_taken(measured: _Build, judge: Callable[..., Report]) -> None:
    budget = {"latency_p50_ms": {"relative": 1.05}}
    before = [measured(0.02, threads=4, job="b"), measured(0.01, seed=4, job="b"), measured(0.05, mode="sustained", job="b")]
    [found] = judge([budget], [measured()], before).verdicts
    assert found.outcome == "PASS"
    assert found.check.estimate is not None
    assert found.check.estimate.value == pytest.approx(1, rel=0.02)
    with pytest.raises(UsageError, match="has 2 baselines"):
        judge([budget], [measured()], [measured(subject="one"), measured(subject="other")])


def test_without_a_baseline_it_is_inconclusive(measured: _Build, judge: Callable[..., Report]) -> None:
    budget = {"latency_p50_ms": {"relative": 1.05}, "size_mb": {"relative": 1}}
    assert {one.reason for one in judge([budget], [measured()]).verdicts} == {"it is relative, and no --baseline was given"}
    found = judge([budget], [measured()], [measured(name="other")]).verdicts
    assert {one.reason for one in found} == {"the baseline has no result of this model"}
    assert {one.outcome for one in found} == {"INCONCLUSIVE"}
    interpreted = judge([budget], [measured()], [measured(runtime="onnxruntime 1", quantization="int8")])
    assert {one.outcome for one in interpreted.verdicts} == {"INCONCLUSIVE"}


def test_a_baseline_that_waited_for_the_core_proves_no_pass(measured: _Build, verdict: Callable[..., Verdict]) -> None:
    budget = {"latency_p50_ms": {"relative": 1.05}}
    assert verdict(budget, measured(job="b", seed=1), measured()).outcome == "PASS"
    waited = measured(of_process={"waited_share": 0.2})
    found = verdict(budget, measured(job="b", seed=1), waited)
    assert found.outcome == "INCONCLUSIVE"
    assert found.check.notes == ("the baseline: another program had the core 20.0% of the time: the lower end allows for it",)
    # Interleaved in one job, both waited alike.
    found = verdict(budget, measured(seed=1, of_process={"waited_share": 0.2}), waited)
    assert (found.outcome, found.check.notes) == ("PASS", ())


def test_an_artifact_is_a_baseline_of_facts(judge: Callable[..., Report]) -> None:
    mine, old = (
        Result(name, name, Model("net", "onnx", sha256=name, size_bytes=size)) for name, size in (("new", 100), ("old", 90))
    )
    [found] = judge([{"size_mb": {"relative": 1.05}}], [mine], [old]).verdicts
    assert found.outcome == "FAIL"
    with pytest.raises(UsageError, match="new has 2 baselines"):
        judge([{"size_mb": {"relative": 1.05}}], [mine], [old, mine])
