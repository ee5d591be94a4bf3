"""The budgets file: what each model may cost, and which results an entry speaks of.

::

    budgets:
      - {model: lsnet_t, target: onnx, device: host, latency_p50_ms: 12, size_mb: 50}
      - {model: lsnet_t, latency_p50_ms: {relative: 1.05}}

Everything but the limits selects; an entry without selectors speaks of every result. The units are in the names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, PlainValidator, model_validator

from edgekit import typed_yaml
from edgekit.gate.quantities import AccuracyDrop, Energy, Fact, Latency, PerProcess, Quantity, Share
from edgekit.gate.results import Result


@dataclass(frozen=True)
class Limit:
    """What a quantity is held to."""

    bound: float
    """In the unit that the key names; a ratio to the baseline where `relative`."""
    relative: bool = False


def _limit(given: object) -> Limit:
    """A number, or `{relative: 1.05}`. Raises ValueError for anything else."""
    if isinstance(given, dict):
        if list(given) != ["relative"]:
            raise ValueError("relative to a baseline is written {relative: 1.05}")
        return Limit(_positive(given["relative"]), relative=True)
    return Limit(_positive(given))


def _points(given: object) -> Limit:
    """A number of points, 0 included: a drop is itself relative to the reference it was evaluated against."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < math.inf:
        raise ValueError("it takes a number of points, 0 or more")
    return Limit(float(given))


def _share(given: object) -> Limit:
    """As any limit, at most 1."""
    limit = _limit(given)
    if not limit.relative and limit.bound > 1:
        raise ValueError("a fraction is at most 1")
    return limit


def _positive(given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < math.inf:
        raise ValueError("it takes a positive number, or {relative: 1.05} to hold it to a baseline")
    return float(given)


_AtMost = PlainValidator(_limit)
_COLD_LOAD = PerProcess("ms", 1e-3, lambda process: process.load_s if process.load_was_cold else None, "no load was cold")
_FIRST_RUN = PerProcess("ms", 1e-3, lambda process: process.first_run_s, "the device did not time the first run")
_MEMORY = PerProcess("MB", 1e6, lambda process: process.memory.run_peak_bytes, "the device did not tell what the run took")
_SIZE = Fact("MB", lambda model: None if model.size_bytes is None else model.size_bytes / 1e6, "its size is not known")
_OPERATORS = Fact("operators", lambda model: model.operators, "its file does not tell its operators")
_DELEGATED = Share("of operators", lambda model: model.delegated_fraction, "its format has no delegates")


class Budget(typed_yaml.Frozen):
    """One entry: selectors, then limits. Each limit's annotation says how its quantity is read."""

    model: str | None = None
    """The model's name in the manifest; the file's stem or the subject's name for a bare file or an eager model."""
    target: str | None = None
    device: str | None = None
    """As it was given to `profile`, the transport alone (`android`), or what the hardware calls itself."""
    precision: str | None = None
    quantization: str | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    batch: Annotated[int, Field(ge=1)] | None = None
    """Without it, what was run in several batches is not judged: one limit does not fit them all."""
    subject: str | None = None
    """The artifact directory or file as it was given, or the last part of its path."""

    latency_p50_ms: Annotated[Limit | None, _AtMost, Latency(0.50)] = None
    latency_p90_ms: Annotated[Limit | None, _AtMost, Latency(0.90)] = None
    latency_p99_ms: Annotated[Limit | None, _AtMost, Latency(0.99)] = None
    cold_load_ms: Annotated[Limit | None, _AtMost, _COLD_LOAD] = None
    first_run_ms: Annotated[Limit | None, _AtMost, _FIRST_RUN] = None
    energy_mj: Annotated[Limit | None, _AtMost, Energy()] = None
    """Of one run, gross: the idle device's share included."""
    memory_mb: Annotated[Limit | None, _AtMost, _MEMORY] = None
    """What loading and running the model adds to its process (`Memory.run_peak_bytes`), in 10^6 bytes."""
    size_mb: Annotated[Limit | None, _AtMost, _SIZE] = None
    """Of the model's files, in 10^6 bytes."""
    operators: Annotated[Limit | None, _AtMost, _OPERATORS] = None
    delegated_fraction: Annotated[Limit | None, PlainValidator(_share), _DELEGATED] = None
    """A minimum."""
    accuracy_drop: Annotated[Limit | None, PlainValidator(_points), AccuracyDrop()] = None
    """In percentage points, against the reference it was evaluated with."""

    @model_validator(mode="after")
    def _limits_something(self) -> Budget:
        if not self.limits:
            raise ValueError(f"it has no limit: give one of {', '.join(QUANTITIES)}")
        return self

    @property
    def limits(self) -> dict[str, Limit]:
        """The limits it sets, by key, in the order of the reference."""
        return {key: limit for key in QUANTITIES if (limit := getattr(self, key)) is not None}

    @property
    def selectors(self) -> dict[str, str | int]:
        """What it selects by."""
        every = {key: getattr(self, key) for key in type(self).model_fields if key not in QUANTITIES}
        return {key: value for key, value in every.items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{key} {value}" for key, value in self.selectors.items()) or "every result"

    def matches(self, result: Result) -> bool:
        """Whether it speaks of `result`."""
        return all(self.selects(result, key) for key in self.selectors)

    def selects(self, result: Result, key: str) -> bool:
        """Whether the selector `key` alone does. What was not run anywhere fits every device, thread count and batch."""
        named = result.named(key)
        return not named or self.selectors[key] in named


class Budgets(typed_yaml.Frozen):
    """The file."""

    budgets: Annotated[tuple[Budget, ...], Field(min_length=1)]


QUANTITIES: dict[str, Quantity] = {
    key: quantity for key, field in Budget.model_fields.items() for quantity in field.metadata if isinstance(quantity, Quantity)
}
"""How each limit's quantity is read, by its key."""


def read(path: Path) -> tuple[Budget, ...]:
    """The budgets in the file. Raises UsageError naming the entry and the key at fault, with near names."""
    return typed_yaml.read(path, Budgets).budgets
