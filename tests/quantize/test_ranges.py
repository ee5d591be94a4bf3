"""Ranges by each estimator, against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.quantize import ranges
from edgekit.quantize.ranges import BINS, Histogram, Range

LEVELS = 256


def _histogram(low: float, high: float, counts: dict[int, int]) -> Histogram:
    found = np.zeros(BINS, np.int64)
    for place, count in counts.items():
        found[place] = count
    return Histogram(low, high, found)


def test_min_max_is_all_that_was_seen() -> None:
    assert ranges.min_max(_histogram(-1.5, 3.0, {0: 1, 7: 100}), LEVELS) == Range(-1.5, 3.0)


def test_percentile_leaves_out_half_a_ten_thousandth_at_either_end() -> None:
    # Bins of width 1 over 0..2048: 4 values of 100 000 in the first and the last, which is less than 5; the rest in two others.
    seen = _histogram(0.0, 2048.0, {0: 4, 100: 50_000, 299: 49_992, 2047: 4})
    assert ranges.percentile(seen, LEVELS) == Range(100.0, 300.0)


def test_percentile_keeps_what_is_not_that_rare() -> None:
    seen = _histogram(0.0, 2048.0, {0: 6, 100: 99_988, 2047: 6})
    assert ranges.percentile(seen, LEVELS) == Range(0.0, 2048.0)


def test_least_squares_cuts_a_lone_outlier_off() -> None:
    # 10^7 values between 0 and 100, one at 2048: a step over all is 8, over the part that is filled 0.4. To cut the outlier off
    # costs 1948^2 = 3.8e6; to keep it, 10^7 * 8^2 / 12 = 5.3e7.
    seen = _histogram(0.0, 2048.0, {**dict.fromkeys(range(100), 100_000), 2047: 1})
    found = ranges.least_squares(seen, LEVELS)
    assert found.low == 0.0
    assert 100.0 <= found.high <= 400.0


def test_least_squares_keeps_an_end_that_is_full_while_it_draws_the_other_in() -> None:
    # As a GELU makes them: a small negative part full of values, and a positive tail with one far out.
    seen = _histogram(-256.0, 1792.0, {**dict.fromkeys(range(400), 100_000), 2047: 1})
    found = ranges.least_squares(seen, LEVELS)
    assert found.low < -240.0
    assert found.high < 500.0


@given(
    counts=st.lists(st.integers(0, 10**6), min_size=BINS // 64, max_size=BINS // 64).filter(any),
    low=st.floats(-1e3, 1e3),
    width=st.floats(0.0, 1e4),
)
def test_least_squares_is_never_worse_than_all_that_was_seen(counts: list[int], low: float, width: float) -> None:
    seen = Histogram(low, low + width, np.repeat(np.array(counts, np.int64), 64))
    everything = ranges.min_max(seen, LEVELS).with_zero()
    found = ranges.least_squares(seen, LEVELS)
    assert ranges.squared_error(seen, found, LEVELS) <= ranges.squared_error(seen, everything, LEVELS)
    assert everything.low <= found.low <= 0 <= found.high <= everything.high


@pytest.mark.parametrize("name", sorted(ranges.ESTIMATORS))
@pytest.mark.parametrize("value", [0.0, 5.0, -1e6])
def test_a_tensor_of_one_value_has_a_range_of_it(name: str, value: float) -> None:
    found = ranges.ESTIMATORS[name](_histogram(value, value, {0: 12}), LEVELS).with_zero()
    assert found == Range(min(value, 0.0), max(value, 0.0))
