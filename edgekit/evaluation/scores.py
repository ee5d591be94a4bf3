"""What one image tells of one subject, and of its distance from its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.runtimes import Array

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Hits = npt.NDArray[np.bool_]
"""Of each image, whether it is so."""
NONE = -1
"""Stands for no class and no rank."""


@dataclass(frozen=True)
class Score:
    """One image and one subject. Null where there is no label, no reference, or an output that is not finite."""

    predicted: int | None
    """The likeliest class; the first of equals."""
    rank: int | None = None
    """How many classes come before the label's."""
    kl_nats: float | None = None
    """Divergence of the softmax from the reference's."""
    signal: float | None = None
    """Sum of the reference's squared logits."""
    noise: float | None = None
    """Sum of squared differences from them."""


def score(logits: Array, label: int | None, reference: Array | None) -> Score:
    """The score of one image's `logits` [classes], given its label and the `reference`'s finite logits, where there are."""
    found = logits.astype(np.float64)
    if not np.isfinite(found).all():
        return Score(None)
    rank = None if label is None else _rank(found, label)
    predicted = int(found.argmax())
    if reference is None:
        return Score(predicted, rank)
    expected = reference.astype(np.float64)
    log_p, log_q = _log_softmax(expected), _log_softmax(found)
    divergence = float(np.exp(log_p) @ (log_p - log_q))
    noise = float(np.square(expected - found).sum())
    return Score(predicted, rank, max(divergence, 0.0), float(np.square(expected).sum()), noise)


def _rank(logits: Floats, label: int) -> int:
    """Classes of a higher logit, and of an equal one that come first: the label's place in a stable sort."""
    return int((logits > logits[label]).sum() + (logits[:label] == logits[label]).sum())


def _log_softmax(logits: Floats) -> Floats:
    shifted: Floats = logits - logits.max()
    shifted -= np.log(np.exp(shifted).sum())
    return shifted


@dataclass(frozen=True)
class Scores:
    """A subject's scores of all images, a field an array. -1 and NaN where a `Score` has none."""

    predicted: Integers
    rank: Integers
    kl_nats: Floats
    signal: Floats
    noise: Floats

    @classmethod
    def of(cls, scores: Sequence[Score]) -> Scores:
        """The arrays of these."""
        return cls(
            predicted=np.array([NONE if one.predicted is None else one.predicted for one in scores], np.int64),
            rank=np.array([NONE if one.rank is None else one.rank for one in scores], np.int64),
            kl_nats=np.array([one.kl_nats for one in scores], np.float64),
            signal=np.array([one.signal for one in scores], np.float64),
            noise=np.array([one.noise for one in scores], np.float64),
        )

    @property
    def finite(self) -> Hits:
        """Images whose output is."""
        return np.not_equal(self.predicted, NONE)

    def within(self, most: int) -> Hits:
        """Images whose label is among the `most` likeliest classes."""
        return np.not_equal(self.rank, NONE) & np.less(self.rank, most)
