"""Statistics of latencies: quantiles with intervals, spread, drift, and the ratio of two medians.

Processes of one model differ, mostly in where their memory came to lie, and more than the runs of one process do: an
interval takes several of them, and Student's t of what they say one by one (Kalibera and Jones 2013). Latencies of one
process are autocorrelated: where there is one process alone, and for quantiles beside the former, the interval comes from
a bootstrap of processes and of moving blocks of consecutive runs within each (Künsch 1989). What was chosen and how well
it holds: reports/statistics.md.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

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
Blocks = Sequence[Sequence[float]]
"""Samples of one process by block."""


def quantile(processes: Processes, q: float, *, seed: int = 0) -> Estimate:
    """The pooled `q`-quantile and its 95 % interval; without interval below `minimum_samples(q)` runs.

    The interval is the bootstrap's, or that of the processes' own quantiles where it is wider.
    """
    arrays = _arrays(processes)
    pooled = np.concatenate(arrays)
    value = float(np.quantile(pooled, q))
    needed = minimum_samples(q)
    if pooled.size < needed:
        return Estimate(value, None, None, f"an interval takes {needed} runs, there are {pooled.size}")
    draw = _Draw(seed, len(arrays), _blocks(arrays, q))
    within = interval(value, [np.quantile(part, q, axis=1) for part in draw.resamples(arrays)])
    between = _about(value, _log_quantiles(arrays, q)) if len(arrays) > 1 else within
    return wider(within, between)


def ratio_of_medians(processes: Sequence[Blocks], reference: Sequence[Blocks], *, paired: bool, seed: int = 0) -> Estimate:
    """The median latency of `processes` over that of `reference`, with the 95 % interval of the log ratio.

    It is the geometric mean over the processes, each counting once. `paired` says that the two took turns in one job: each
    block of one is then compared with the block of the other in the same round, so that what the machine did to both
    cancels, and a process's ratio is the median over its rounds. With one process of either, the interval comes from a
    bootstrap of their runs.
    """
    fewest = min(sum(map(len, itertools.chain.from_iterable(each))) for each in (processes, reference))
    pairs = min(len(processes), len(reference))
    if paired:  # an interrupted job may have more of one
        processes, reference = processes[:pairs], reference[:pairs]
    joined, others = _arrays(map(_joined, processes)), _arrays(map(_joined, reference))
    logs, other_logs = _log_quantiles(joined, 0.5), _log_quantiles(others, 0.5)
    if paired:
        logs = np.array([_log_ratio(*pair) for pair in zip(processes, reference, strict=True)])
        other_logs = np.zeros(pairs)
    value = math.exp(logs.mean() - other_logs.mean())
    if fewest < minimum_samples(0.5):
        reason = f"an interval takes {minimum_samples(0.5)} runs of each, one has {fewest}"
        return Estimate(value, None, None, reason)
    if pairs == 1:
        return _bootstrapped_ratio(joined, others, value, paired=paired, seed=seed)
    return _about(value, logs) if paired else _about_difference(value, logs, other_logs)


def minimum_samples(q: float) -> int:
    """The fewest samples whose largest bounds the `q`-quantile with 95 % confidence: 1 - q^n >= 0.95 (order
    statistics). 29 for p90, 59 for p95, 299 for p99."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(q))


def student_t(confidence: float, freedom: float) -> float:
    """The two-sided quantile of Student's t: the probability within ± this is `confidence`. `freedom` is rounded down, to the
    wider side.

    The probability is a finite sum for whole degrees of freedom (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4).
    """
    whole = max(math.floor(freedom), 1)
    low, high = 0.0, math.pi / 2  # of atan(t / sqrt(freedom)), in which the probability rises
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, whole) < confidence else (low, middle)
    return math.sqrt(whole) * math.tan(high)


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
    """The last quarter's median over the first's: the median over the processes. None when a process has fewer than 8 runs: a
    quarter of one run tells nothing."""
    if min(map(len, processes)) < 8:
        return None
    logs = []
    for samples in _arrays(processes):
        quarter = samples.size // 4
        logs.append(math.log(np.median(samples[-quarter:]) / np.median(samples[:quarter])))
    return math.exp(float(np.median(logs)))


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


def _within(angle: float, freedom: int) -> float:
    """The probability that |t| < sqrt(freedom) tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for power in range(1 + odd, freedom, 2):
        total += term
        term *= cosine * cosine * power / (power + 1)
    return (angle + sine * total) * 2 / math.pi if odd else sine * total


def _log_quantiles(arrays: Sequence[Samples], q: float) -> Samples:
    """The logarithm of each process's own quantile."""
    return np.log([float(np.quantile(array, q)) for array in arrays])


def _log_ratio(blocks: Blocks, others: Blocks) -> float:
    """Of the medians of two processes that took turns: the median over their rounds."""
    rounds = zip(blocks, others, strict=False)  # an interrupted job may have a block more of one
    return float(np.median([math.log(np.median(block) / np.median(other)) for block, other in rounds]))


def _joined(blocks: Blocks) -> list[float]:
    return list(itertools.chain.from_iterable(blocks))


def _about(value: float, logs: Samples) -> Estimate:
    """Student's interval for the mean of `logs`, laid about `value` as a factor."""
    factor = math.exp(student_t(CONFIDENCE, logs.size - 1) * math.sqrt(logs.var(ddof=1) / logs.size))
    return Estimate(value, value / factor, value * factor)


def _about_difference(value: float, logs: Samples, others: Samples) -> Estimate:
    """Welch's interval for the difference of two means of logarithms, laid about `value` as a factor."""
    parts = [float(some.var(ddof=1)) / some.size for some in (logs, others)]
    if sum(parts) == 0:
        return Estimate(value, value, value)
    freedom = sum(parts) ** 2 / sum(part**2 / (some.size - 1) for part, some in zip(parts, (logs, others), strict=True))
    factor = math.exp(student_t(CONFIDENCE, freedom) * math.sqrt(sum(parts)))
    return Estimate(value, value / factor, value * factor)


def wider(one: Estimate, other: Estimate) -> Estimate:
    """The value with the lower of the lower bounds and the higher of the higher."""
    low, high = ([bound for bound in bounds if bound is not None] for bounds in ((one.low, other.low), (one.high, other.high)))
    return Estimate(one.value, min(low), max(high))


def _bootstrapped_ratio(
    arrays: Sequence[Samples], references: Sequence[Samples], value: float, *, paired: bool, seed: int
) -> Estimate:
    """The ratio with the interval that the runs of one process alone give; other processes might say otherwise."""
    blocks, reference_blocks = _blocks(arrays, 0.5), _blocks(references, 0.5)
    seeds = seed, seed + 1
    if paired:
        blocks = reference_blocks = min(blocks, reference_blocks)
        seeds = seed, seed
    medians = [np.median(part, axis=1) for part in _Draw(seeds[0], len(arrays), blocks).resamples(arrays)]
    reference_medians = [
        np.median(part, axis=1) for part in _Draw(seeds[1], len(references), reference_blocks).resamples(references)
    ]
    log_ratios = np.log(np.concatenate(medians)) - np.log(np.concatenate(reference_medians))
    return interval(value, [log_ratios], back=math.exp)


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


def interval(value: float, parts: Sequence[Samples], back: Callable[[float], float] = float) -> Estimate:
    """The 95 % percentile interval of bootstrapped statistics, widened if need be to hold the estimate itself."""
    tail = (1 - CONFIDENCE) / 2
    low, high = (back(float(bound)) for bound in np.quantile(np.concatenate(parts), [tail, 1 - tail]))
    return Estimate(value, min(low, value), max(high, value))


def _arrays(processes: Iterable[Sequence[float]]) -> list[Samples]:
    return [np.asarray(samples, dtype=np.float64) for samples in processes]
