"""What is said below the table of an evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from evaluations import accuracy, beside

from edgekit import metrics
from edgekit.evaluation import summary, table
from edgekit.evaluation.scores import Scores, score
from edgekit.profiling.measurement import Estimate


@pytest.mark.parametrize(
    ("over_all", "median", "is_said"), [(11.4, 27.4, True), (26.0, 28.0, False), (120.0, 133.0, False), (11.4, None, False)]
)
def test_it_is_said_where_noise_is_uneven(over_all: float, median: float | None, is_said: bool) -> None:
    told = table.sentences([accuracy("a", beside(None, sqnr_db=Estimate(over_all, None, None), median_sqnr_db=median))])
    assert any("the noise is uneven: 11.4 dB over all, 27.4 dB of the median sample" in one for one in told) is is_said


def test_the_median_is_over_samples_and_without_what_is_not_finite() -> None:
    """One sample of four holds nearly all noise; another is not finite."""
    rng = np.random.default_rng(0)
    expected = rng.normal(size=(4, 10))
    found = expected + 0.01 * rng.normal(size=(4, 10))
    found[1] += 3.0
    found[3] = np.nan
    alone = sorted(metrics.sqnr_db(one, other) for one, other in zip(expected[:3], found[:3], strict=True))
    scores = Scores.of([score(one, None, other) for one, other in zip(found, expected, strict=True)])
    same = Scores.of([score(other, None, other) for other in expected])
    against = summary.against(scores, same, None, "the reference", ())
    assert against.median_sqnr_db == pytest.approx(alone[1])
    assert against.sqnr_db is not None
    assert against.sqnr_db.value < alone[1] - 20
