"""Collecting: data only grow, looks share the allowed error, and what is false is said at most as often as promised."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from edgekit.errors import DeviceError, InputError, Interrupted
from edgekit.gate import collecting, merging
from edgekit.gate.budgets import Budget
from edgekit.gate.verdicts import decide
from edgekit.profiling.measurement import Energy, Measurement, Process

_Build = Callable[..., Measurement]
_MakeProcess = Callable[..., Process]
_JOB_S = 10.0
_RUN_SPREAD, _CORRELATION, _PROCESS_SPREAD = 0.03, 0.8, 0.01
"""Of the logarithms: standard deviation and correlation from run to run, and standard deviation from process to process, once
for what the machine does to all and once for what each has of its own."""


class Bench:
    """A machine that measures synthetic subjects: latencies correlated within a process, and processes that differ."""

    def __init__(self, template: Measurement, process: _MakeProcess, medians_s: dict[str, float], seed: int) -> None:
        self._template, self._process, self.medians_s = template, process, medians_s
        self._random = np.random.default_rng(seed)
        self._jobs = itertools.count()
        self.now_s = 0.0
        self.asked: list[tuple[str, ...]] = []

    def clock(self) -> float:
        return self.now_s

    def measure(self, names: Sequence[str]) -> list[Measurement]:
        self.asked.append(tuple(names))
        self.now_s += _JOB_S * len(names)
        job = str(next(self._jobs))
        machine = _PROCESS_SPREAD * self._random.standard_normal(2)  # what it does to all subjects in a generation of processes
        return [self._measured(name, job, machine) for name in names]

    def _measured(self, name: str, job: str, machine: Sequence[float]) -> Measurement:
        processes = tuple(self._process(self._series(self.medians_s[name], effect)) for effect in machine)
        return dataclasses.replace(self._template, subject=name, job=job, processes=processes)

    def _series(self, median_s: float, effect: float) -> list[float]:
        steps = _RUN_SPREAD * math.sqrt(1 - _CORRELATION**2) * self._random.standard_normal(60)
        level, levels = _RUN_SPREAD * self._random.standard_normal(), []
        for step in steps:
            level = _CORRELATION * level + step
            levels.append(level)
        own = _PROCESS_SPREAD * self._random.standard_normal()
        return list(median_s * np.exp(np.array(levels) + effect + own))


@pytest.fixture
def bench(measurement: _Build, process: _MakeProcess) -> Callable[..., Bench]:
    template = measurement()
    return lambda medians_s, seed=0, kind=Bench: kind(template, process, medians_s, seed)


def _collect(bench: Bench, budget: Budget, subjects: Sequence[str], cap_s: float = 60, **more: Any) -> collecting.Collected:
    return collecting.collect([budget], subjects, bench.measure, cap_s=cap_s, clock=bench.clock, **more)


def _outcomes(found: collecting.Collected) -> list[str]:
    return [decide(check).outcome for check in found.checks]


def _true_quantile_ms(q: float) -> float:
    """Of what a machine whose median is 10 ms measures."""
    spread = math.sqrt(_RUN_SPREAD**2 + 2 * _PROCESS_SPREAD**2)
    return 10 * math.exp(spread * statistics.NormalDist().inv_cdf(q))


@pytest.mark.parametrize(
    ("limits", "beside"),
    [
        ({"latency_p50_ms": _true_quantile_ms(0.50)}, ()),
        ({"latency_p90_ms": _true_quantile_ms(0.90)}, ()),
        ({"latency_p99_ms": _true_quantile_ms(0.99)}, ()),
        ({"latency_p50_ms": {"relative": 1.0}}, ("old",)),
        ({"latency_p90_ms": {"relative": 1.0}}, ("old",)),
    ],
)
def test_at_the_boundary_false_passes_and_false_fails_stay_under_five_percent(
    bench: Callable[..., Bench], limits: dict[str, object], beside: Sequence[str]
) -> None:
    """The truth is the budget itself: whatever is decided is decided falsely, one way or the other."""
    series, cap_s = 300, 100.0 * (1 + len(beside))
    budget = Budget.model_validate(limits)
    machines = (bench({"net": 0.01, "old": 0.01}, seed) for seed in range(series))
    outcomes = [
        outcome for machine in machines for outcome in _outcomes(_collect(machine, budget, ["net"], cap_s, beside=beside))
    ]
    assert len(outcomes) == series
    assert outcomes.count("PASS") <= 0.05 * series
    assert outcomes.count("FAIL") <= 0.05 * series


def test_what_is_slower_than_its_budget_by_more_than_the_noise_is_found(bench: Callable[..., Bench]) -> None:
    budget = Budget.model_validate({"latency_p50_ms": 10})
    slow = [_outcomes(_collect(bench({"net": 0.0105}, seed), budget, ["net"], 120)) for seed in range(20)]
    fast = [_outcomes(_collect(bench({"net": 0.0095}, seed), budget, ["net"], 120)) for seed in range(20)]
    assert slow.count(["FAIL"]) >= 18
    assert fast.count(["PASS"]) >= 18


def test_no_more_is_measured_once_every_limit_is_decided(bench: Callable[..., Bench]) -> None:
    budget = Budget.model_validate({"latency_p50_ms": 10})
    machine = bench({"fast": 0.001, "close": 0.0099})
    found = _collect(machine, budget, ["fast", "close"], cap_s=100)
    assert machine.asked[0] == ("fast", "close")
    assert machine.asked[-1] == ("close",)
    assert decide(found.checks[0]).outcome == "PASS"
    fast, close = found.measurements
    assert len(fast.processes) < len(close.processes) == 2 * len(machine.asked)


def test_the_cap_ends_it_undecided_and_a_cap_below_one_job_still_measures_once(bench: Callable[..., Bench]) -> None:
    budget = Budget.model_validate({"latency_p50_ms": 10})
    machine = bench({"net": 0.01})
    found = _collect(machine, budget, ["net"], cap_s=35)
    assert machine.now_s == 30
    verdict = decide(found.checks[0])
    assert verdict.outcome == "INCONCLUSIVE"
    assert "raise --cap-s" in verdict.reason
    machine = bench({"net": 0.01})
    _collect(machine, budget, ["net"], cap_s=1)
    assert machine.now_s == 10


def test_facts_and_what_no_measuring_can_tell_are_not_waited_for(bench: Callable[..., Bench]) -> None:
    machine = bench({"net": 0.01})
    found = _collect(machine, Budget.model_validate({"size_mb": 0.5, "delegated_fraction": 0.5, "energy_mj": 3}), ["net"])
    assert _outcomes(found) == ["INCONCLUSIVE", "FAIL", "INCONCLUSIVE"]
    assert [check.key for check in found.checks] == ["energy_mj", "size_mb", "delegated_fraction"]
    assert len(machine.asked) == 1


def test_looks_that_exclude_each_other_decide_nothing(bench: Callable[..., Bench]) -> None:
    budget = Budget.model_validate({"latency_p50_ms": 10})

    class Jumping(Bench):
        def measure(self, names: Sequence[str]) -> list[Measurement]:
            if len(self.asked) == 8:
                self.medians_s = {"net": 0.5}
            return super().measure(names)

    verdict = decide(_collect(bench({"net": 0.01}, kind=Jumping), budget, ["net"], cap_s=2000).checks[0])
    assert verdict.outcome == "INCONCLUSIVE"
    assert verdict.reason.startswith("two looks exclude each other")


def test_the_error_that_is_spent_adds_up_to_five_percent(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []
    look = collecting._Subject.look

    def watched(self: Any, budgets: Any, baseline: Any, error: float) -> None:
        spent.append(error)
        look(self, budgets, baseline, error)

    monkeypatch.setattr(collecting._Subject, "look", watched)
    _collect(bench({"net": 0.01}), Budget.model_validate({"latency_p50_ms": 10}), ["net"], cap_s=60)
    assert len(spent) == 6
    assert spent == pytest.approx([0.05 / 6] * 6)


def test_what_an_interrupted_job_measured_is_kept_with_all_before(bench: Callable[..., Bench]) -> None:
    machine = bench({"net": 0.01, "other": 0.01})

    def measure(names: Sequence[str]) -> list[Measurement]:
        made = machine.measure(names)
        if len(machine.asked) == 2:
            raise Interrupted(DeviceError("the phone is gone"), [dataclasses.replace(made[1], interrupted="the phone is gone")])
        return made

    budget = Budget.model_validate({"latency_p50_ms": 10})
    with pytest.raises(Interrupted, match="the phone is gone") as caught:
        collecting.collect([budget], ["net", "other"], measure, cap_s=600, clock=machine.clock)
    net, other = caught.value.partial
    assert (len(net.processes), net.interrupted) == (2, None)
    assert (len(other.processes), other.interrupted) == (4, "the phone is gone")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("error", [DeviceError("the phone is gone"), KeyboardInterrupt()])
def test_nothing_is_lost_when_a_later_job_cannot_begin(bench: Callable[..., Bench], error: BaseException) -> None:
    machine = bench({"net": 0.01})

    def measure(names: Sequence[str]) -> list[Measurement]:
        if len(machine.asked) == 2:
            raise error
        return machine.measure(names)

    budget = Budget.model_validate({"latency_p50_ms": 10})
    with pytest.raises(Interrupted) as caught:
        collecting.collect([budget], ["net"], measure, cap_s=600, clock=machine.clock)
    [kept] = caught.value.partial
    assert len(kept.processes) == 4
    assert caught.value.exit_code == (4 if isinstance(error, DeviceError) else 130)
    with pytest.raises(type(error)):
        collecting.collect([budget], ["net"], measure, cap_s=600, clock=machine.clock)


def test_a_merged_measurement_is_that_of_all_processes(measurement: _Build, process: _MakeProcess) -> None:
    energy = Energy("measured", gross_j=0.1, net_j=0.05, idle_w=1.0, meter="rapl", window_s=2.0, runs=100)
    first = measurement([process([0.01] * 40)] * 2, job="a", energy=energy)
    more = dataclasses.replace(energy, gross_j=0.4, net_j=None, window_s=1.0, runs=50)
    second = measurement([process([0.03] * 100, steady=False)], job="b", energy=more)
    joined = merging.appended(first, second)
    assert joined.steady is False  # until it is summarized: then most of the processes decide
    both = merging.summarized(joined)
    assert both == measurement(
        [*first.processes, *second.processes],
        job="a+b",
        energy=dataclasses.replace(energy, gross_j=pytest.approx(0.2), net_j=None, window_s=3.0, runs=150),
    )
    assert both.steady is True
    assert both.p50_s.value == 0.03


def test_energy_is_kept_where_one_of_two_jobs_could_not_measure_it(measurement: _Build) -> None:
    told, untold = Energy("measured", gross_j=0.1, runs=10), Energy("counter_static", reason="it stood still")
    assert merging.appended(measurement(energy=told), measurement(energy=untold)).energy == told
    assert merging.appended(measurement(energy=untold), measurement(energy=told)).energy == told


@pytest.mark.parametrize(("change", "named"), [({"sha256": "cd" * 32}, "model"), ({"threads": 2}, "fingerprint")])
def test_what_changes_while_it_is_measured_is_refused(measurement: _Build, change: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=r"net\.onnx changed while it was measured") as caught:
        merging.appended(measurement(), measurement(**change))
    assert caught.value.cause == f"its {named} differs between two jobs"
