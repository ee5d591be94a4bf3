"""Palettes: the few values that stand for a weight's many with the least squared error."""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

_ROUNDS = 1000
_LEAST = 1e-300


def palette_of(values: npt.NDArray[np.float32], entries: int) -> npt.NDArray[np.float32]:
    """[entries], ascending: k-means in one dimension (Lloyd 1982), on sorted values.

    It begins with the clusters that come of halving, again and again, the one with the largest error: so values far out get
    entries of their own. Fewer distinct values than entries are kept as they are, the last of them repeated.
    """
    ordered = np.sort(values.ravel().astype(np.float64))
    distinct = np.unique(ordered)
    if len(distinct) <= entries:
        return np.pad(distinct, (0, entries - len(distinct)), mode="edge").astype(np.float32)
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    ends = _halved(ordered, sums, entries)
    centres = np.diff(sums[ends]) / np.diff(ends)
    for _ in range(_ROUNDS):
        borders = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        ends = np.concatenate(([0], borders, [len(ordered)]))
        counts = np.diff(ends)
        means = np.where(counts > 0, np.diff(sums[ends]) / np.maximum(counts, 1), centres)
        if np.array_equal(means, centres):
            break
        centres = means
    return centres.astype(np.float32)


def _halved(ordered: npt.NDArray[np.float64], sums: npt.NDArray[np.float64], clusters: int) -> npt.NDArray[np.int64]:
    """[clusters + 1]: where the clusters begin and end. Each halving is at the cluster's mean."""
    squares = np.concatenate(([0.0], np.cumsum(ordered**2)))

    def cluster(first: int, last: int) -> tuple[float, int, int]:
        """With the negative of its error: the heap gives the smallest first. Only what can be halved has one."""
        error = squares[last] - squares[first] - (sums[last] - sums[first]) ** 2 / (last - first)
        return -max(float(error), _LEAST) if ordered[first] < ordered[last - 1] else 0.0, first, last

    found = [cluster(0, len(ordered))]
    while len(found) < clusters:
        _, first, last = heapq.heappop(found)
        mean = (sums[last] - sums[first]) / (last - first)
        middle = first + int(np.clip(np.searchsorted(ordered[first:last], mean, side="right"), 1, last - first - 1))
        heapq.heappush(found, cluster(first, middle))
        heapq.heappush(found, cluster(middle, last))
    return np.array([0, *sorted(last for _, _, last in found)])


def nearest(values: npt.NDArray[np.float32], palette: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """[values]: the index of the nearest entry of an ascending `palette` of 256 at most."""
    return np.searchsorted((palette[1:] + palette[:-1]) / 2, values).astype(np.uint8)
