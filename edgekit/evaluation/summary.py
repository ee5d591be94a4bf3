"""From scores to figures with intervals: what an `Accuracy` says of one subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from edgekit import metrics
from edgekit.evaluation import counts
from edgekit.evaluation.accuracy import Against, Shift
from edgekit.evaluation.bootstrap import Bootstrap
from edgekit.evaluation.scores import Floats, Hits, Integers, Scores
from edgekit.profiling import statistics
from edgekit.profiling.measurement import Estimate

_MOST_SHIFTS = 5


def share_percent(hits: Hits) -> Estimate:
    """Percent of the images for which it holds."""
    resampled = Bootstrap({"hit": _floats(hits)}).estimate(lambda mean: 100 * mean["hit"])
    return statistics.wider(resampled, _times_100(counts.proportion(int(hits.sum()), len(hits))))


def drop_points(ours: Hits, theirs: Hits) -> Estimate:
    """Percentage points by which the reference is right more often (`theirs`, an image each) than the subject (`ours`)."""
    lost = _floats(theirs) - _floats(ours)
    resampled = Bootstrap({"lost": lost}).estimate(lambda mean: 100 * mean["lost"])
    exact = counts.paired_difference(int((lost > 0).sum()), int((lost < 0).sum()), len(lost))
    return statistics.wider(resampled, _times_100(exact))


def against(scores: Scores, reference: Scores, labels: Integers | None, name: str, classes: Sequence[str]) -> Against:
    """A subject beside its reference, which is called `name`; `classes` are the names of what labels index."""
    distances = _distances(scores)
    agreement = share_percent(scores.finite & (scores.predicted == reference.predicted))
    if labels is None:
        return Against(name, agreement, *distances, None, None, None, None, None, _median_sqnr_db(scores))
    ours, theirs = scores.within(1), reference.within(1)
    only_reference, only_subject = int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
    return Against(
        name,
        agreement,
        *distances,
        accuracy_drop_points=drop_points(ours, theirs),
        only_reference_right=only_reference,
        only_subject_right=only_subject,
        mcnemar_p=counts.mcnemar(only_reference, only_subject),
        shifts=shifts(labels, scores.predicted, reference.predicted, classes),
        median_sqnr_db=_median_sqnr_db(scores),
    )


def _distances(scores: Scores) -> tuple[Estimate | None, Estimate | None]:
    """Divergence in nats and SQNR in dB, over the images with a finite output."""
    if not scores.finite.any():
        return None, None
    columns: Mapping[str, Floats] = {"kl": scores.kl_nats, "signal": scores.signal, "noise": scores.noise}
    resamples = Bootstrap({name: column[scores.finite] for name, column in columns.items()})
    return (
        resamples.estimate(lambda mean: mean["kl"]),
        resamples.estimate(lambda mean: metrics.decibels(mean["signal"], mean["noise"])),
    )


def _median_sqnr_db(scores: Scores) -> float | None:
    pairs = zip(scores.signal[scores.finite], scores.noise[scores.finite], strict=True)
    found = [metrics.decibels(float(signal), float(noise)) for signal, noise in pairs]
    return float(np.median(found)) if found else None


def shifts(labels: Integers, ours: Integers, theirs: Integers, classes: Sequence[str]) -> tuple[Shift, ...]:
    """The confusions whose counts changed most, by two at least, from the reference's predictions (`theirs`) to the subject's
    (`ours`)."""
    now, before = _confusions(labels, ours), _confusions(labels, theirs)
    changed = [pair for pair in now | before if abs(now[pair] - before[pair]) > 1]
    most = sorted(changed, key=lambda pair: (-abs(now[pair] - before[pair]), pair))[:_MOST_SHIFTS]
    return tuple(Shift(classes[pair[0]], classes[pair[1]], before[pair], now[pair]) for pair in most)


def _confusions(labels: Integers, predicted: Integers) -> Counter[tuple[int, int]]:
    wrong = (predicted != labels) & (predicted >= 0)
    return Counter(zip(labels[wrong].tolist(), predicted[wrong].tolist(), strict=True))


def _floats(hits: Hits) -> Floats:
    return hits.astype(np.float64)


def _times_100(share: Estimate) -> Estimate:
    assert share.low is not None
    assert share.high is not None
    return Estimate(100 * share.value, 100 * share.low, 100 * share.high)
