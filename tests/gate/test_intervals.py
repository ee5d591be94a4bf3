"""Intervals over processes, and the textbook's two-sample interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.gate import intervals
from edgekit.profiling.measurement import Estimate
from edgekit.profiling.statistics import student_t

_values = st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=9)


@given(_values)
def test_an_interval_holds_its_value_and_widens_with_confidence(values: list[float]) -> None:
    likely, surer = (intervals.of_values(values, confidence=confidence) for confidence in (0.9, 0.99))
    assert likely.low is not None
    assert likely.high is not None
    assert surer.low is not None
    assert surer.high is not None
    assert surer.low <= likely.low <= likely.value * (1 + 1e-9)
    assert likely.value * (1 - 1e-9) <= likely.high <= surer.high


def test_pairs_cancel_what_both_share() -> None:
    shared = [1.0, 2.0, 4.0]
    mine = [1.1 * one for one in shared]
    paired = intervals.ratio_of_values(mine, shared, paired=True)
    apart = intervals.ratio_of_values(mine, shared, paired=False)
    assert paired is not None
    assert apart is not None
    assert (paired.low, paired.high) == (pytest.approx(1.1), pytest.approx(1.1))
    spread = np.std(np.log(shared), ddof=1) * math.sqrt(2 / 3) * student_t(0.95, 4)
    assert apart.high == pytest.approx(1.1 * math.exp(spread))


def test_what_has_no_logarithm_or_no_spread_has_no_interval() -> None:
    assert intervals.of_values([0.0, 1.0]).low is None
    assert (
        intervals.of_values([2.0]).reason
        == "a single value tells nothing of its spread: more processes do, as --collect measures them"
    )
    assert intervals.ratio_of_values([1.0], [0.0], paired=False) is None
    single = intervals.ratio_of_values([3.0], [2.0], paired=False)
    assert single is not None
    assert (single.value, single.low) == (pytest.approx(1.5), None)


def test_a_quotient_is_as_wide_as_both_bounds_allow_and_lacks_what_one_of_them_lacks() -> None:
    found = intervals.quotient(Estimate(2.0, 1.0, 3.0), Estimate(4.0, 2.0, 8.0))
    assert (found.value, found.low, found.high) == (0.5, 0.125, 1.5)
    assert intervals.quotient(Estimate(2.0, None, None, "few"), Estimate(4.0, 2.0, 8.0)).reason == "few"
    assert intervals.quotient(Estimate(4.0, 2.0, 8.0), Estimate(2.0, None, None, "few")).low is None
