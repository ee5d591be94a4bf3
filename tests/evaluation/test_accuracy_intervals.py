"""Intervals and tests against figures that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.evaluation import bootstrap, counts, summary
from edgekit.evaluation.bootstrap import Bootstrap


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (5, 0, 2 / 32),
        (0, 5, 2 / 32),
        (10, 2, 2 * (1 + 12 + 66) / 4096),
        (1, 8, 2 * (1 + 9) / 512),
    ],
)
def test_mcnemar_s_test_by_hand(only_first: int, only_second: int, p: float) -> None:
    assert counts.mcnemar(only_first, only_second) == pytest.approx(p)


def test_mcnemar_s_test_takes_many() -> None:
    assert counts.mcnemar(2500, 2500) == 1
    z = (2600 - 2400 - 1) / math.sqrt(5000)  # the normal approximation, with its correction for continuity
    assert counts.mcnemar(2600, 2400) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-2)


def test_a_share_has_wilson_s_interval() -> None:
    found = counts.proportion(81, 263)  # Newcombe 1998, table I
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    none = counts.proportion(0, 20)
    assert (none.value, none.low, none.high) == (0, 0, pytest.approx(0.1611, abs=5e-5))
    assert counts.proportion(20, 20).high == 1


def test_a_paired_difference_has_agresti_and_min_s_interval() -> None:
    found = counts.paired_difference(54, 25, 1600)
    centre, more = 29 / 1602, 1602
    half = 1.959964 * math.sqrt((80 / more - centre**2) / more)
    assert (found.value, found.low, found.high) == (29 / 1600, pytest.approx(centre - half), pytest.approx(centre + half))


def test_no_difference_in_few_images_bounds_the_loss_to_little_else() -> None:
    same = np.ones(20, bool)
    few, many = summary.drop_points(same, same), summary.drop_points(np.ones(20_000, bool), np.ones(20_000, bool))
    assert few.value == many.value == 0
    assert few.high is not None
    assert many.high is not None
    assert few.high > 8
    assert many.high < 0.02


def test_the_bootstrap_of_a_mean_is_as_wide_as_its_standard_error_says() -> None:
    values = np.random.default_rng(3).standard_normal(900)
    found = Bootstrap({"v": values}).estimate(lambda mean: mean["v"])
    half = 1.96 * values.std() / 30
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == (
        pytest.approx(found.value - half, abs=0.1 * half),
        pytest.approx(found.value + half, abs=0.1 * half),
    )


def test_quantities_are_resampled_together() -> None:
    values = np.random.default_rng(4).uniform(1, 2, 200)
    ratio = Bootstrap({"a": values, "b": 2 * values}).estimate(lambda mean: mean["b"] / mean["a"])
    assert (ratio.low, ratio.high) == (pytest.approx(2), pytest.approx(2))


@pytest.mark.slow
def test_the_interval_of_the_drop_holds_the_truth_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is right and the subject wrong in 3 % of all images, the other way round in 1 %: 2 points are lost."""
    monkeypatch.setattr(bootstrap, "_RESAMPLES", 300)
    generator, held, trials = np.random.default_rng(5), 0, 400
    for _ in range(trials):
        kind = generator.choice(4, p=[0.03, 0.01, 0.76, 0.2], size=400)
        theirs, ours = np.isin(kind, (0, 2)), np.isin(kind, (1, 2))
        drop = summary.drop_points(ours, theirs)
        assert drop.low is not None
        assert drop.high is not None
        held += drop.low <= 2 <= drop.high
    assert 0.93 <= held / trials <= 0.99


def test_pairing_narrows_the_interval() -> None:
    """As far as two models err on the same images, their difference is known better than either."""
    generator = np.random.default_rng(6)
    theirs = generator.random(1000) < 0.8
    ours = np.where(generator.random(1000) < 0.02, ~theirs, theirs)
    drop, alone = summary.drop_points(ours, theirs), summary.share_percent(ours)
    assert None not in (drop.low, drop.high, alone.low, alone.high)
    assert 2 * (drop.high - drop.low) < alone.high - alone.low  # type: ignore[operator]  # just checked


def test_shifts_are_the_confusions_that_changed_most() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    theirs = np.array([0] * 8 + [1] * 2 + [1] * 9 + [-1])
    ours = np.array([0] * 5 + [1] * 5 + [1] * 9 + [0])
    found = summary.shifts(labels, ours, theirs, ("cat", "dog"))
    assert [(one.label, one.predicted, one.reference, one.subject) for one in found] == [("cat", "dog", 2, 5)]
