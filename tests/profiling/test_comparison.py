"""Ratios keep their interval and refuse what does not compare."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.profiling import ratio
from edgekit.profiling.measurement import Measurement, Process


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


def test_a_runtime_that_chooses_its_own_threads_compares_with_any(measurement: Callable[..., Measurement]) -> None:
    assert ratio(measurement(threads=None), measurement(threads=2)).value > 0


def test_other_threads_do_not_compare(measurement: Callable[..., Measurement]) -> None:
    with pytest.raises(UsageError) as caught:
        ratio(measurement(threads=1), measurement(threads=2))
    assert caught.value.cause == "they were measured with another threads: 1 and 2"
