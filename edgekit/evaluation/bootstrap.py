"""The bootstrap over images (Efron 1979): what a figure would be on other draws of as many images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgekit.evaluation.scores import Floats
from edgekit.profiling import statistics
from edgekit.profiling.measurement import Estimate

_RESAMPLES = 2000
_SEED = 0

Means = Mapping[str, float]


class Bootstrap:
    """Resamples of the images, by what each image says of several quantities: all are resampled together."""

    def __init__(self, quantities: Mapping[str, Floats]) -> None:
        """`quantities` are arrays [images]."""
        self._names = tuple(quantities)
        columns = np.column_stack(list(quantities.values()))
        generator, images = np.random.default_rng(_SEED), len(columns)
        self._means = columns.mean(axis=0)
        self._drawn = np.empty((_RESAMPLES, columns.shape[1]))
        for row in self._drawn:
            times = np.bincount(generator.integers(images, size=images), minlength=images)
            row[:] = times @ columns / images

    def estimate(self, statistic: Callable[[Means], float]) -> Estimate:
        """A statistic of the quantities' means over the images, with its 95 % percentile interval."""
        drawn = np.array([statistic(self._named(row)) for row in self._drawn])
        return statistics.interval(statistic(self._named(self._means)), [drawn])

    def _named(self, row: Floats) -> Means:
        return dict(zip(self._names, row.tolist(), strict=True))
