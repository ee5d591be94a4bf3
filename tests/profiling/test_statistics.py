"""Statistics: known answers, sane intervals, and intervals that hold the truth as often as they say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.profiling import statistics

_latencies = st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=80)
_processes = st.lists(_latencies, min_size=1, max_size=3)


def _autocorrelated(generator: np.random.Generator, n: int, correlation: float) -> npt.NDArray[np.float64]:
    """An AR(1) series of unit variance."""
    noise = generator.standard_normal(n) * math.sqrt(1 - correlation**2)
    series = np.empty(n)
    series[0] = generator.standard_normal()
    for i in range(1, n):
        series[i] = correlation * series[i - 1] + noise[i]
    return series


def _one_block_each(processes: Sequence[Sequence[float]]) -> list[list[Sequence[float]]]:
    return [[samples] for samples in processes]


def _in_blocks(processes: Sequence[npt.NDArray[np.float64]], runs: int) -> list[list[list[float]]]:
    """Each process cut into blocks of so many runs."""
    return [[samples[start : start + runs].tolist() for start in range(0, len(samples), runs)] for samples in processes]


@pytest.mark.parametrize(("q", "samples"), [(0.50, 5), (0.90, 29), (0.95, 59), (0.99, 299)])
def test_a_bound_on_a_quantile_needs_this_many_samples(q: float, samples: int) -> None:
    assert statistics.minimum_samples(q) == samples


def test_below_that_many_samples_there_is_a_value_and_a_reason_but_no_interval() -> None:
    samples = [[0.001 * i for i in range(1, 29)]]
    few, enough = statistics.quantile(samples, 0.9), statistics.quantile([[*samples[0], 0.029]], 0.9)
    assert few.value == pytest.approx(0.0253)
    assert (few.low, few.high) == (None, None)
    assert few.reason == "an interval takes 29 runs, there are 28"
    assert enough.reason is None
    assert enough.low is not None


@given(_processes, st.sampled_from([0.5, 0.9, 0.99]))
def test_an_interval_holds_its_estimate_and_that_of_one_process_stays_within_its_samples(
    processes: list[list[float]], q: float
) -> None:
    pooled = np.concatenate(processes)
    estimate = statistics.quantile(processes, q)
    assert estimate.value == float(np.quantile(pooled, q))
    assert (estimate.low is None) == (len(pooled) < statistics.minimum_samples(q))
    if estimate.low is not None and estimate.high is not None:
        assert estimate.low <= estimate.value <= estimate.high
        if len(processes) == 1:
            assert pooled.min() <= estimate.low <= estimate.high <= pooled.max()


@given(_processes)
def test_statistics_scale_with_the_unit(processes: list[list[float]]) -> None:
    doubled = [[2 * value for value in samples] for samples in processes]
    assert statistics.mad(doubled) == pytest.approx(2 * statistics.mad(processes))
    assert statistics.drift(doubled) == pytest.approx(statistics.drift(processes))
    ratio = statistics.ratio_of_medians(_one_block_each(doubled), _one_block_each(processes), paired=True)
    assert ratio.value == pytest.approx(2)
    if ratio.low is not None:  # paired with itself, all noise cancels
        assert (ratio.low, ratio.high) == (pytest.approx(2), pytest.approx(2))


def test_intervals_are_the_same_every_time() -> None:
    samples = [np.random.default_rng(3).random(100).tolist()]
    assert statistics.quantile(samples, 0.5) == statistics.quantile(samples, 0.5)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_intervals_of_the_median_hold_the_truth_about_as_often_as_they_say(correlation: float) -> None:
    generator = np.random.default_rng(11)
    held = 0
    for _ in range(100):
        processes = [0.01 * np.exp(0.02 * _autocorrelated(generator, 200, correlation)) for _ in range(2)]
        estimate = statistics.quantile(processes, 0.5)
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low <= 0.01 <= estimate.high
    assert 85 <= held <= 100  # 95 expected; blocks of one run would hold 70 at a correlation of 0.8


def test_autocorrelation_calls_for_longer_blocks() -> None:
    generator = np.random.default_rng(5)
    independent, correlated = (_autocorrelated(generator, 400, correlation) for correlation in (0.0, 0.9))
    assert statistics.block_length(independent, 0.5) <= 4
    assert statistics.block_length(correlated, 0.5) >= 15


@given(_latencies, st.sampled_from([0.5, 0.9, 0.99]))
def test_a_block_is_never_longer_than_a_quarter_of_the_series(samples: list[float], q: float) -> None:
    assert 1 <= statistics.block_length(np.array(samples), q) <= max(1, len(samples) // 4)


def test_processes_that_differ_widen_the_interval_beyond_themselves() -> None:
    generator = np.random.default_rng(7)
    alike = [0.010 + 1e-6 * generator.standard_normal(100) for _ in range(3)]
    apart = [alike[0], alike[1] + 0.001, alike[2] + 0.002]
    narrow, wide = statistics.quantile(alike, 0.5), statistics.quantile(apart, 0.5)
    assert narrow.low is not None
    assert narrow.high is not None
    assert narrow.high - narrow.low < 1e-5
    # Student's t with two degrees of freedom of ln 10, 11 and 12: 4.303 * 0.0912 / sqrt(3), a factor of 1.254
    assert wide.low == pytest.approx(0.011 / 1.254, rel=0.01)
    assert wide.high == pytest.approx(0.011 * 1.254, rel=0.01)


def test_a_ratio_takes_each_process_once_and_each_round_once() -> None:
    subject = [[[2.0, 2.0], [20.0, 20.0], [2.0, 2.0]], [[8.0, 8.0]] * 3]
    reference = [[[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0]] * 3]
    ratio = statistics.ratio_of_medians(subject, reference, paired=True)
    assert ratio.value == pytest.approx(4.0)  # of 2 and 8; the round in which the machine did something else does not count
    assert ratio.high == pytest.approx(4.0 * math.exp(12.7062047 * math.log(2)))


def test_processes_of_two_jobs_are_compared_as_two_groups() -> None:
    subject, reference = [[[value] * 9] for value in (1.0, 1.1, 1.2)], [[[value] * 9] for value in (2.0, 2.0, 2.0, 2.0)]
    ratio = statistics.ratio_of_medians(subject, reference, paired=False)
    assert ratio.value == pytest.approx(math.exp((math.log(1.1) + math.log(1.2)) / 3) / 2)
    assert ratio.low is not None
    # All of the spread is the first group's: two degrees of freedom
    assert math.log(ratio.value / ratio.low) == pytest.approx(4.303 * 0.0912 / math.sqrt(3), rel=0.01)


def test_what_an_interrupted_job_took_of_one_subject_only_is_left_out() -> None:
    ratio = statistics.ratio_of_medians([[[2.0] * 5]] * 3 + [[[9.0] * 5]], [[[1.0] * 5]] * 3, paired=True)
    assert (ratio.value, ratio.low, ratio.high) == (pytest.approx(2.0), pytest.approx(2.0), pytest.approx(2.0))


@pytest.mark.parametrize(
    ("confidence", "freedom", "t"),
    [
        (0.95, 1, 12.7062),
        (0.95, 2, 4.30265),
        (0.95, 2.9, 4.30265),
        (0.95, 3, 3.18245),
        (0.99, 4, 4.60409),
        (0.9, 9, 1.83311),
        (0.95, 30, 2.04227),
        (0.999, 7, 5.40788),
    ],
)
def test_students_quantiles_are_those_of_the_tables(confidence: float, freedom: float, t: float) -> None:
    assert statistics.student_t(confidence, freedom) == pytest.approx(t, rel=1e-5)


def test_with_much_freedom_students_quantile_is_the_normal_one() -> None:
    assert statistics.student_t(0.95, 100_000) == pytest.approx(1.95996, rel=1e-4)


def test_pairing_cancels_what_the_machine_did_to_both() -> None:
    generator = np.random.default_rng(9)
    machine = [np.exp(0.1 * _autocorrelated(generator, 300, 0.98)) for _ in range(4)]
    fast = [0.010 * drift * np.exp(0.005 * generator.standard_normal(300)) for drift in machine]
    slow = [0.012 * drift[::2] * np.exp(0.005 * generator.standard_normal(150)) for drift in machine]
    paired = statistics.ratio_of_medians(_in_blocks(slow, 15), _in_blocks(fast, 30), paired=True)
    unpaired = statistics.ratio_of_medians(_in_blocks(slow, 15), _in_blocks(fast, 30), paired=False)
    assert paired.low is not None
    assert paired.high is not None
    assert unpaired.low is not None
    assert unpaired.high is not None
    assert paired.low <= 1.2 <= paired.high
    assert paired.high - paired.low < 0.25 * (unpaired.high - unpaired.low)


def test_a_ratio_of_too_few_runs_has_no_interval() -> None:
    ratio = statistics.ratio_of_medians([[[2.0] * 9]], [[[1.0] * 4]], paired=False)
    assert (ratio.value, ratio.low, ratio.high) == (2.0, None, None)
    assert ratio.reason == "an interval takes 5 runs of each, one has 4"


def test_mad_is_the_median_distance_from_the_median() -> None:
    assert statistics.mad([[1.0, 1.0, 2.0], [2.0, 4.0, 6.0, 9.0]]) == 1.0


def test_drift_is_what_most_processes_show() -> None:
    still, slower, faster = [1.0] * 8, [1.0] * 4 + [1.1] * 4, [1.0] * 4 + [0.5] * 4
    assert statistics.drift([still]) == 1.0
    assert statistics.drift([slower, still, slower]) == pytest.approx(1.1)
    assert statistics.drift([still, faster, slower]) == 1.0
    assert statistics.drift([slower, [1.0] * 7]) is None
