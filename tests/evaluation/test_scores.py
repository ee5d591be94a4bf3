"""What one image tells."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.evaluation.scores import Score, Scores, score


def _row(*logits: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(logits, np.float32)


def test_the_rank_is_the_label_s_place_in_a_stable_sort() -> None:
    logits = _row(1, 3, 2, 3)
    assert [score(logits, label, None).rank for label in range(4)] == [3, 0, 2, 1]
    assert score(logits, 0, None).predicted == 1


def test_divergence_signal_and_noise_are_those_of_the_definitions() -> None:
    found = score(_row(0, 0), None, _row(math.log(3), 0))
    p = (0.75, 0.25)
    assert found.kl_nats == pytest.approx(sum(x * math.log(x / 0.5) for x in p))
    assert found.signal == found.noise == pytest.approx(math.log(3) ** 2)
    assert found.rank is None


def test_the_same_logits_are_no_distance_apart_and_shifted_ones_have_the_same_softmax() -> None:
    logits = _row(700, -700, 3)
    assert score(logits, None, logits) == Score(0, None, 0.0, pytest.approx(980009), 0.0)
    assert score(_row(1, 2, 3), None, _row(11, 12, 13)).kl_nats == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_output_that_is_not_finite_scores_nothing(bad: float) -> None:
    assert score(_row(1, bad), 0, _row(1, 2)) == Score(None)


def test_scores_are_arrays_in_which_what_is_missing_counts_as_wrong() -> None:
    scores = Scores.of([Score(2, 0, 0.5, 4.0, 1.0), Score(None), Score(1, 3, 0.25, 2.0, 1.0)])
    assert scores.finite.tolist() == [True, False, True]
    assert scores.within(1).tolist() == [True, False, False]
    assert scores.within(4).tolist() == [True, False, True]
    assert np.isnan(scores.kl_nats[1])
