"""Statistics of latencies: quantiles with intervals, spread, drift, steadiness, and the ratio of two medians.

Latencies of one process are autocorrelated, and processes differ (memory layout, what the machine did meanwhile). The
intervals therefore come from a bootstrap in two stages: processes are drawn with replacement (Kalibera and Jones 2013),
and moving blocks of consecutive runs within each (Künsch 1989). With the usual two processes the first stage
is coarse, and an interval errs on the narrow side where processes truly differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgekit.profiling.measurement import Estimate

CONFIDENCE = 0.95
_RESAMPLES = 2000
_CHUNK_ELEMENTS = 1 << 22
"""Bounds the bootstrap's memory to some tens of megabytes."""

Samples = npt.NDArray[np.float64]
Processes = Sequence[Sequence[float]]
"""Samples by process, each in the order they were taken."""


def quantile(processes: Processes, q: float, *, seed: int = 0) -> Estimate:
    """The pooled `q`-quantile and its 95 % interval; without interval below `minimum_samples(q)` runs."""
    arrays = _arrays(processes)
    pooled = np.concatenate(arrays)
    value = float(np.quantile(pooled, q))
    needed = minimum_samples(q)
    if pooled.size < needed:
        return Estimate(value, None, None, f"an interval takes {needed} runs, there are {pooled.size}")
    draw = _Draw(seed, len(arrays), _blocks(arrays, q))
    return _interval(value, [np.quantile(part, q, axis=1) for part in draw.resamples(arrays)])


def ratio_of_medians(processes: Processes, reference: Processes, *, paired: bool, seed: int = 0) -> Estimate:
    """The median of `processes` over that of `reference`, with the 95 % interval of the log ratio.

    `paired` says that the two were interleaved in one job: then the bootstrap takes the same process and the same
    stretch of time from both, so that what the machine did to both cancels.
    """
    arrays, references = _arrays(processes), _arrays(reference)
    value = float(np.median(np.concatenate(arrays)) / np.median(np.concatenate(references)))
    fewest = min(sum(map(len, arrays)), sum(map(len, references)))
    if fewest < minimum_samples(0.5):
        return Estimate(value, None, None, f"an interval takes {minimum_samples(0.5)} runs of each, one has {fewest}")
    blocks, reference_blocks = _blocks(arrays, 0.5), _blocks(references, 0.5)
    if paired and len(arrays) == len(references):
        blocks = reference_blocks = min(blocks, reference_blocks)
        seeds = seed, seed
    else:
        seeds = seed, seed + 1
    medians = [np.median(part, axis=1) for part in _Draw(seeds[0], len(arrays), blocks).resamples(arrays)]
    reference_medians = [
        np.median(part, axis=1) for part in _Draw(seeds[1], len(references), reference_blocks).resamples(references)
    ]
    log_ratios = np.log(np.concatenate(medians)) - np.log(np.concatenate(reference_medians))
    return _interval(value, [log_ratios], back=math.exp)


def minimum_samples(q: float) -> int:
    """The fewest samples whose largest bounds the `q`-quantile with 95 % confidence: 1 - q^n >= 0.95 (order
    statistics). 29 for p90, 59 for p95, 299 for p99."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(q))


def mad(processes: Processes) -> float:
    """The median absolute deviation from the pooled median."""
    pooled = np.concatenate(_arrays(processes))
    return float(np.median(np.abs(pooled - np.median(pooled))))


def outliers(processes: Processes) -> int:
    """Runs slower than the third quartile by more than three times the interquartile range (Tukey's far out)."""
    pooled = np.concatenate(_arrays(processes))
    first, third = np.quantile(pooled, [0.25, 0.75])
    return int(np.count_nonzero(pooled > third + 3 * (third - first)))


def drift(processes: Processes) -> float | None:
    """The last quarter's median over the first's, of the process where it is furthest from 1. None when a process has
    fewer than 8 runs: a quarter of one run tells nothing."""
    if min(map(len, processes)) < 8:
        return None
    ratios = []
    for samples in _arrays(processes):
        quarter = samples.size // 4
        ratios.append(float(np.median(samples[-quarter:]) / np.median(samples[:quarter])))
    return max(ratios, key=lambda ratio: abs(math.log(ratio)))


def block_length(samples: Samples, q: float) -> int:
    """The moving-block length for the `q`-quantile, between 1 and a quarter of the series.

    Politis and White 2004, corrected by Patton, Politis and White 2009, applied to the series of "is above the
    quantile", whose autocorrelation is what the quantile's variance depends on.
    """
    n = samples.size
    above = (samples > np.quantile(samples, q)).astype(np.float64)
    above -= above.mean()
    variance = float(above @ above) / n
    if n < 8 or variance == 0.0:
        return 1
    in_a_row = max(5, math.ceil(math.sqrt(math.log10(n))))
    lags = min(n - 1, math.ceil(math.sqrt(n)) + in_a_row)
    covariance = np.array([float(above[lag:] @ above[: n - lag]) / n for lag in range(lags + 1)])
    # The last lag before `in_a_row` correlations that chance alone explains.
    notable = np.abs(covariance[1:] / variance) >= 2 * math.sqrt(math.log10(n) / n)
    quiet = [lag for lag in range(lags) if not notable[lag : lag + in_a_row].any()]
    bandwidth = min(2 * max(quiet[0] if quiet else lags, 1), lags)
    lag = np.arange(-bandwidth, bandwidth + 1)
    weight = np.clip(2 * (1 - np.abs(lag) / bandwidth), 0, 1) * covariance[np.abs(lag)]
    bias, spread = float(np.sum(np.abs(lag) * weight)), float(np.sum(weight))
    longest = max(n // 4, 1)
    if spread <= 0:  # strongly alternating, or too correlated for this series to tell
        return 1 if bias <= 0 else longest
    length = math.cbrt(2 * bias**2 / (4 / 3 * spread**2) * n)
    return min(max(math.ceil(length), 1), longest)


def _blocks(arrays: Sequence[Samples], q: float) -> int:
    """How many blocks make up one process in a resample."""
    length = max(block_length(array, q) for array in arrays)
    return max(1, min(map(len, arrays)) // length)


class _Draw:
    """One seeded draw of processes and stretches of time.

    Stretches are drawn as positions between 0 and 1 of a process's duration, so that two subjects measured side by
    side can share a draw although the faster one has more samples.
    """

    def __init__(self, seed: int, processes: int, blocks: int) -> None:
        generator = np.random.default_rng(seed)
        self._process = generator.integers(processes, size=(_RESAMPLES, processes))
        self._position = generator.random((_RESAMPLES, processes, blocks))

    def resamples(self, arrays: Sequence[Samples]) -> Iterator[Samples]:
        """Pooled resamples of `arrays`, one a row, in parts of bounded size. Each drawn process gives as many samples
        as a process has on average."""
        sizes = np.array([array.size for array in arrays])
        flat, offsets = np.concatenate(arrays), np.concatenate([[0], np.cumsum(sizes)[:-1]])
        wanted = round(flat.size / len(arrays))
        blocks = self._position.shape[2]
        length = min(math.ceil(wanted / blocks), int(sizes.min()))
        rows = max(1, _CHUNK_ELEMENTS // flat.size)
        for row in range(0, _RESAMPLES, rows):
            chosen, position = self._process[row : row + rows], self._position[row : row + rows]
            starts = np.floor(position * (sizes[chosen] - length + 1)[..., None]).astype(np.int64)
            index = (offsets[chosen][..., None] + starts)[..., None] + np.arange(length)
            index = index.reshape(*chosen.shape, blocks * length)[..., :wanted]
            yield flat[index.reshape(len(chosen), -1)]


def _interval(value: float, parts: Sequence[Samples], back: Callable[[float], float] = float) -> Estimate:
    """The percentile interval of bootstrapped statistics, widened if need be to hold the estimate itself."""
    tail = (1 - CONFIDENCE) / 2
    low, high = (back(float(bound)) for bound in np.quantile(np.concatenate(parts), [tail, 1 - tail]))
    return Estimate(value, min(low, value), max(high, value))


def _arrays(processes: Processes) -> list[Samples]:
    return [np.asarray(samples, dtype=np.float64) for samples in processes]
