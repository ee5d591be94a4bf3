"""Ratios keep their interval and refuse what does not compare."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.profiling import ratio
from edgekit.profiling.comparison import Comparison
from edgekit.profiling.measurement import Estimate, Measurement, Process


def test_the_ratio_reads_as_this_one_over_the_reference(
    measurement: Callable[..., Measurement], process: Callable[..., Process]
) -> None:
    slow = measurement([process([0.02] * 10)] * 2)
    result = ratio(slow, measurement())
    assert (result.value, result.low, result.high) == (pytest.approx(2.0), pytest.approx(2.0), pytest.approx(2.0))


def test_only_one_job_is_paired(measurement: Callable[..., Measurement], process: Callable[..., Process]) -> None:
    noise = np.exp(0.1 * np.random.default_rng(0).standard_normal((2, 50)))
    processes = [process((0.01 * row).tolist()) for row in noise]
    here, same_job, other_job = measurement(processes), measurement(processes), measurement(processes, job="b")
    paired, unpaired = ratio(here, same_job), ratio(here, other_job)
    assert paired.low == paired.high == 1.0
    assert unpaired.low is not None
    assert unpaired.low < 1.0


def test_what_other_programs_took_is_left_out(measurement: Callable[..., Measurement], process: Callable[..., Process]) -> None:
    robbed = [dataclasses.replace(process([0.01, 0.05] * 10), waited_s=(0.0, 0.04) * 10)] * 3
    calm = [dataclasses.replace(process([0.01] * 20), waited_s=(0.0,) * 20)] * 3
    unknown = [process([0.01] * 20)] * 3
    assert ratio(measurement(robbed), measurement(calm)).value == pytest.approx(1.0)
    assert ratio(measurement(robbed), measurement(unknown)).value == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("estimate", "finding", "verdict"),
    [
        (Estimate(0.7634, 0.7463, 0.7813), "faster", "faster by 1.31x [1.28, 1.34]"),
        (Estimate(1.31, 1.28, 1.34), "slower", "slower by 1.31x [1.28, 1.34]"),
        (Estimate(1.0, 0.98, 1.02), "no difference shown", "no difference shown (1.00x [0.98, 1.02])"),
        (Estimate(1.004, 1.001, 1.007), "slower", "slower by 1.004x [1.001, 1.007]"),
        (Estimate(2.0, None, None, "an interval takes 5 runs"), "undecided", "undecided (2.00x): an interval takes 5 runs"),
    ],
)
def test_the_verdict_says_what_the_interval_allows(estimate: Estimate, finding: str, verdict: str) -> None:
    found = Comparison("a", "b", estimate)
    assert (found.finding, found.verdict) == (finding, verdict)
    assert json.loads(json.dumps(found.as_dict())) == {
        "subject": "a",
        "reference": "b",
        "ratio": {"value": estimate.value, "low": estimate.low, "high": estimate.high, "reason": estimate.reason},
        "finding": finding,
        "verdict": verdict,
    }


def test_a_runtime_that_chooses_its_own_threads_compares_with_any(measurement: Callable[..., Measurement]) -> None:
    assert ratio(measurement(threads=None), measurement(threads=2)).value > 0


def test_other_threads_do_not_compare(measurement: Callable[..., Measurement]) -> None:
    with pytest.raises(UsageError) as caught:
        ratio(measurement(threads=1), measurement(threads=2))
    assert caught.value.cause == "they were measured with another threads: 1 and 2"
