"""Statistics: known answers, sane intervals, and intervals that hold the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.profiling import statistics, timing

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
def test_an_interval_holds_its_estimate_and_stays_within_the_samples(processes: list[list[float]], q: float) -> None:
    pooled = np.concatenate(processes)
    estimate = statistics.quantile(processes, q)
    assert estimate.value == float(np.quantile(pooled, q))
    assert (estimate.low is None) == (len(pooled) < statistics.minimum_samples(q))
    if estimate.low is not None and estimate.high is not None:
        assert pooled.min() <= estimate.low <= estimate.value <= estimate.high <= pooled.max()


@given(_processes)
def test_statistics_scale_with_the_unit(processes: list[list[float]]) -> None:
    doubled = [[2 * value for value in samples] for samples in processes]
    assert statistics.mad(doubled) == pytest.approx(2 * statistics.mad(processes))
    assert statistics.drift(doubled) == pytest.approx(statistics.drift(processes))
    ratio = statistics.ratio_of_medians(doubled, processes, paired=True)
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


def test_processes_that_differ_widen_the_interval() -> None:
    generator = np.random.default_rng(7)
    alike = [0.010 + 1e-5 * generator.standard_normal(100) for _ in range(2)]
    apart = [alike[0], alike[1] + 0.001]
    narrow, wide = statistics.quantile(alike, 0.5), statistics.quantile(apart, 0.5)
    assert narrow.low is not None
    assert narrow.high is not None
    assert narrow.high - narrow.low < 1e-5
    assert wide.low == pytest.approx(0.010, abs=1e-5)
    assert wide.high == pytest.approx(0.011, abs=1e-5)


def test_pairing_cancels_what_the_machine_did_to_both() -> None:
    generator = np.random.default_rng(9)
    machine = [np.exp(0.1 * _autocorrelated(generator, 300, 0.98)) for _ in range(2)]
    fast = [0.010 * drift * np.exp(0.005 * generator.standard_normal(300)) for drift in machine]
    slow = [0.012 * drift[::2] * np.exp(0.005 * generator.standard_normal(150)) for drift in machine]
    paired = statistics.ratio_of_medians(slow, fast, paired=True)
    unpaired = statistics.ratio_of_medians(slow, fast, paired=False)
    assert paired.low is not None
    assert paired.high is not None
    assert unpaired.low is not None
    assert unpaired.high is not None
    assert paired.low <= 1.2 <= paired.high
    assert paired.high - paired.low < 0.25 * (unpaired.high - unpaired.low)


def test_a_ratio_of_too_few_runs_has_no_interval() -> None:
    ratio = statistics.ratio_of_medians([[2.0] * 9], [[1.0] * 4], paired=False)
    assert (ratio.value, ratio.low, ratio.high) == (2.0, None, None)
    assert ratio.reason == "an interval takes 5 runs of each, one has 4"


def test_mad_is_the_median_distance_from_the_median() -> None:
    assert statistics.mad([[1.0, 1.0, 2.0], [2.0, 4.0, 6.0, 9.0]]) == 1.0


def test_drift_is_that_of_the_process_that_drifted_most() -> None:
    still, slower, faster = [1.0] * 8, [1.0] * 4 + [1.1] * 4, [1.0] * 4 + [0.5] * 4
    assert statistics.drift([still]) == 1.0
    assert statistics.drift([still, slower]) == pytest.approx(1.1)
    assert statistics.drift([slower, faster]) == 0.5
    assert statistics.drift([slower, [1.0] * 7]) is None


@pytest.mark.parametrize(
    ("medians", "verdict"),
    [
        ([], False),
        ([1.0, 1.0], False),
        ([1.0, 1.01, 1.02], True),
        ([1.0, 1.015, 1.03], False),
        ([2.0, 1.0, 1.0, 1.0], True),
        ([1.0, 1.0, 1.0, 2.0], False),
    ],
)
def test_the_last_three_medians_must_agree_within_two_percent(medians: list[float], verdict: bool) -> None:
    assert timing.agree(medians) is verdict
