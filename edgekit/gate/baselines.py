"""What a relative limit compares with: the same model, measured before or beside, on the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.errors import UsageError
from edgekit.gate.quantities import Quantity
from edgekit.gate.results import Result

_MUST_AGREE = ("device", "hardware", "os", "cpu", "cpu_flags", "cores", "gpu", "threads", "runtime")
"""Fingerprint fields of which a figure depends: where one differs, a ratio would not be the model's."""


@dataclass(frozen=True)
class Baseline:
    """Every result given as such."""

    results: Sequence[Result]

    def of(self, result: Result, quantity: Quantity) -> Result | None:
        """The baseline of `result` for `quantity`; None where there is none. Raises UsageError when those there are were
        measured on something else, and when several differ."""
        alike = [one for one in self.results if quantity.asked_of(one) and identity(one) == identity(result)]
        if quantity.measured:
            alike = _of_its_kind(result, alike)
        if len({(one.source, one.subject) if quantity.measured else one.model.sha256 for one in alike}) > 1:
            raise UsageError(
                f"{result.subject} has {len(alike)} baselines",
                cause=f"{alike[0].subject} in {alike[0].source} and {alike[1].subject} in {alike[1].source} are both alike",
                next_step="give the one to compare with",
            )
        return alike[0] if alike else None


def identity(result: Result) -> tuple[str | None, ...]:
    """What stays when a model is changed and exported again."""
    return result.model.name, result.model.target, result.model.precision, result.model.quantization


def _of_its_kind(result: Result, others: Sequence[Result]) -> list[Result]:
    """Those of `others` that were run as `result` was. Raises UsageError when there are others, but none on the same thing."""
    run_alike = [one for one in others if _run(one) == _run(result)]
    found = [one for one in run_alike if not _differences(result, one)]
    if run_alike and not found:
        name, here, there = min((_differences(result, one) for one in run_alike), key=len)[0]
        raise UsageError(
            f"{result.subject} cannot be held to its baseline",
            cause=f"its {name} is {here}, the baseline's is {there}: their ratio would not be the model's",
            next_step="measure the baseline again as this was; `gate --collect --baseline ARTIFACT` measures both in turns",
        )
    return found


def _run(result: Result) -> tuple[object, ...]:
    assert result.measurement is not None
    return result.batch, result.measurement.conditions.mode


def _differences(result: Result, other: Result) -> list[tuple[str, object, object]]:
    """Every field of the fingerprints that differs, with both values."""
    assert result.measurement is not None
    assert other.measurement is not None
    mine, others = result.measurement.fingerprint, other.measurement.fingerprint
    pairs = [(name, getattr(mine, name), getattr(others, name)) for name in _MUST_AGREE]
    return [pair for pair in pairs if pair[1] != pair[2]]
