"""What a budget can hold to a limit, and how each quantity is read from a result, in the budget's unit."""

from __future__ import annotations

import math
import statistics as stdlib_statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgekit.gate import intervals
from edgekit.gate.results import Result
from edgekit.profiling import comparison, statistics
from edgekit.profiling.measurement import Estimate, Model, Process

_NOTABLE_DELAY = 1.01
_LEAST_BLOCKS = 5


class Quantity(ABC):
    """One of them. Intervals are at `confidence`, made from one value a process; None asks for the 95 % intervals that results
    state themselves, where they do."""

    unit: str
    measured: ClassVar[bool] = True
    """Whether it depends on the machine that ran the model."""
    at_least: ClassVar[bool] = False
    """Whether a budget is a minimum."""

    nothing: ClassVar[str] = "nothing was measured: give results, or --collect them"
    """Why no result tells it where none was asked."""

    def asked_of(self, result: Result) -> bool:
        """Whether a result of its kind (measured, evaluated, an artifact alone) is the one to tell it."""
        return result.measurement is not None

    @abstractmethod
    def missing(self, result: Result) -> str | None:
        """Why `result`, being asked, does not tell it; None when it does."""

    @abstractmethod
    def estimate(self, result: Result, confidence: float | None) -> Estimate:
        """Its value and interval. Only for a result that tells it."""

    @abstractmethod
    def ratio(self, result: Result, baseline: Result, confidence: float | None) -> Estimate | None:
        """Its ratio to that of `baseline`; None where one of them is not above zero. Only for two results that tell it."""

    def doubts(self, result: Result, baseline: Result | None = None) -> list[str]:
        """What made the interval, or that of the ratio to `baseline`, wider than chance alone does."""
        return []


@dataclass(frozen=True)
class Fact(Quantity):
    """What the model's file tells: it decides without an interval."""

    unit: str
    read: Callable[[Model], float | None]
    absent: str
    """Why a model may not tell."""
    measured = False
    nothing = "no model file was given"

    def asked_of(self, result: Result) -> bool:
        return result.against is None

    def missing(self, result: Result) -> str | None:
        return self.absent if self.read(result.model) is None else None

    def estimate(self, result: Result, confidence: float | None) -> Estimate:
        return _exact(self._value(result))

    def ratio(self, result: Result, baseline: Result, confidence: float | None) -> Estimate | None:
        return _exact(self._value(result) / self._value(baseline)) if self._value(baseline) else None

    def _value(self, result: Result) -> float:
        return float(self.read(result.model) or 0)


class Share(Fact):
    """A fact of which there is to be enough."""

    at_least = True


class Replicated(Quantity):
    """A quantity with one value a process or a reading."""

    def estimate(self, result: Result, confidence: float | None) -> Estimate:
        return intervals.of_values(self.values(result), confidence=confidence or statistics.CONFIDENCE)

    def ratio(self, result: Result, baseline: Result, confidence: float | None) -> Estimate | None:
        return intervals.ratio_of_values(
            self.values(result),
            self.values(baseline),
            paired=_paired(result, baseline),
            confidence=confidence or statistics.CONFIDENCE,
        )

    @abstractmethod
    def values(self, result: Result) -> Sequence[float]:
        """In the budget's unit; none where the result does not tell."""


@dataclass(frozen=True)
class PerProcess(Replicated):
    """What every process tells once."""

    unit: str
    per_unit: float
    """Of the base unit."""
    read: Callable[[Process], float | None]
    absent: str

    def missing(self, result: Result) -> str | None:
        return _void(result) or (None if self.values(result) else self.absent)

    def values(self, result: Result) -> list[float]:
        told = (self.read(process) for process in result.processes)
        return [value / self.per_unit for value in told if value is not None]


@dataclass(frozen=True)
class Energy(Replicated):
    """Of one run, gross. Every job reads its meter once."""

    unit: str = "mJ"

    def missing(self, result: Result) -> str | None:
        if result.energy_j:
            return _void(result)
        assert result.measurement is not None
        energy = result.measurement.energy
        return ": ".join(part for part in (energy.status.replace("_", " "), energy.reason) if part)

    def values(self, result: Result) -> list[float]:
        return [joules * 1e3 for joules in result.energy_j]


@dataclass(frozen=True)
class Latency(Quantity):
    """A quantile of the timed runs."""

    q: float
    unit: str = "ms"

    def missing(self, result: Result) -> str | None:
        return _void(result)

    def estimate(self, result: Result, confidence: float | None) -> Estimate:
        made = self._stated(result) if confidence is None else self._over_processes(result, confidence)
        return _scaled(self._widened(made, result), 1e3)

    def ratio(self, result: Result, baseline: Result, confidence: float | None) -> Estimate | None:
        paired = _paired(result, baseline)
        if self.doubts(result, baseline):
            return intervals.quotient(self.estimate(result, confidence), self.estimate(baseline, confidence))
        if self.q == 0.5 and confidence is None and result.measurement and baseline.measurement:
            return comparison.ratio(result.measurement, baseline.measurement)
        for one in (result, baseline):
            if (runs := _runs(one)) < (needed := statistics.minimum_samples(self.q)):
                few = f"an interval takes {needed} runs of each, one has {runs}"
                return Estimate(_pooled(result, self.q) / _pooled(baseline, self.q), None, None, few)
        return intervals.ratio_of_values(
            _quantiles(result, self.q),
            _quantiles(baseline, self.q),
            paired=paired,
            confidence=confidence or statistics.CONFIDENCE,
            value=_pooled(result, self.q) / _pooled(baseline, self.q),
        )

    def doubts(self, result: Result, baseline: Result | None = None) -> list[str]:
        if baseline is not None:
            if _paired(result, baseline):
                return []  # what the machine did, it did to both
            return [*self.doubts(result), *(f"the baseline: {doubt}" for doubt in self.doubts(baseline))]
        found = []
        if result.measurement and result.measurement.steady is False:
            found.append("not steady after the warm-up: the interval is as wide as its blocks differ")
        if self._delay(result) > _NOTABLE_DELAY:
            found.append(f"another program had the core {_waited(result):.1%} of the time: the lower end allows for it")
        return found

    def _stated(self, result: Result) -> Estimate:
        assert result.measurement is not None
        return {0.5: result.measurement.p50_s, 0.9: result.measurement.p90_s, 0.99: result.measurement.p99_s}[self.q]

    def _over_processes(self, result: Result, confidence: float) -> Estimate:
        runs = _runs(result)
        around = self._at(self.q, result, confidence)
        if self.q <= 0.5 or around.high is None:
            return around
        # Few runs show too little of a tail, and spread too little with it. So the upper end is that of a quantile further out,
        # by as much as the rank of this one is uncertain (Woodruff 1952).
        z = stdlib_statistics.NormalDist().inv_cdf((1 + confidence) / 2)
        rank = self.q + z * math.sqrt(self.q * (1 - self.q) / runs)
        if rank >= 1:
            return Estimate(around.value, None, None, f"{runs} runs are too few to bound it from above")
        return Estimate(around.value, around.low, self._at(rank, result, confidence).high)

    def _at(self, q: float, result: Result, confidence: float) -> Estimate:
        return intervals.of_values(_quantiles(result, q), confidence=confidence, value=_pooled(result, q))

    def _widened(self, estimate: Estimate, result: Result) -> Estimate:
        """The interval, widened where something else than chance moved the latencies."""
        low, high = estimate.low, estimate.high
        if low is None or high is None:
            return estimate
        if result.measurement and result.measurement.steady is False:
            blocks = [float(np.quantile(block, self.q)) for block in _blocks(result)]
            if len(blocks) < _LEAST_BLOCKS:
                return Estimate(
                    estimate.value, None, None, f"not steady after the warm-up, and only {len(blocks)} blocks of runs"
                )
            low, high = min(low, *blocks), max(high, *blocks)
        return Estimate(estimate.value, low / self._delay(result), high)

    def _delay(self, result: Result) -> float:
        """By what factor waiting for the core may have raised the quantile. Where a share `w` of the time was waited, a run was
        delayed by w / (1 - w) of its own time on average, and 1 - q of the runs by 1 / (1 - q) of that at most (Markov)."""
        waited = min(_waited(result), 0.99)
        return 1 + waited / (1 - waited) / (1 - self.q)


@dataclass(frozen=True)
class AccuracyDrop(Quantity):
    """What an evaluation found lost against its reference."""

    unit: str = "points"
    measured = False
    nothing = "no accuracy result was given"

    def asked_of(self, result: Result) -> bool:
        return result.against is not None

    def missing(self, result: Result) -> str | None:
        assert result.against is not None
        return None if result.against.accuracy_drop_points else "the data it was evaluated on have no labels"

    def estimate(self, result: Result, confidence: float | None) -> Estimate:
        assert result.against is not None
        assert result.against.accuracy_drop_points is not None
        return result.against.accuracy_drop_points

    def ratio(self, result: Result, baseline: Result, confidence: float | None) -> Estimate | None:
        raise AssertionError("a budget's drop is relative to its reference already")


def _void(result: Result) -> str | None:
    """Why what was measured says nothing of the model on its device."""
    assert result.measurement is not None
    if result.measurement.reference_timing:
        return "reference timing: an interpreter made to be right was timed, and its figures are nobody's"
    parity = result.measurement.parity
    if parity is not None and not parity.passed:
        return f"it computes something else on this device: {parity.sqnr_db:.1f} dB of the {parity.bound_sqnr_db:.0f} dB wanted"
    return None


def _samples(result: Result) -> list[tuple[float, ...]]:
    return [process.latency_s for process in result.processes]


def _runs(result: Result) -> int:
    return sum(map(len, _samples(result)))


def _quantiles(result: Result, q: float) -> list[float]:
    return [float(np.quantile(samples, q)) for samples in _samples(result)]


def _pooled(result: Result, q: float) -> float:
    return float(np.quantile(np.concatenate(_samples(result)), q))


def _blocks(result: Result) -> list[Sequence[float]]:
    return [block for process in result.processes for block in comparison.blocks(process, net=False) if block]


def _waited(result: Result) -> float:
    """The share of the time that another program had the core; 0 where it is not known."""
    known = [process.waited_share for process in result.processes if process.waited_share is not None]
    return stdlib_statistics.fmean(known) if known else 0.0


def _paired(result: Result, baseline: Result) -> bool:
    """Whether both come from the same jobs, in which they were interleaved."""
    mine, other = result.measurement, baseline.measurement
    return mine is not None and other is not None and mine.job == other.job and len(mine.processes) == len(other.processes)


def _exact(value: float) -> Estimate:
    return Estimate(value, value, value)


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    low, high = (None if bound is None else bound * factor for bound in (estimate.low, estimate.high))
    return Estimate(estimate.value * factor, low, high, estimate.reason)
