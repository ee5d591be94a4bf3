"""Budgets from their YAML, and results from measurements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.gate import verdicts
from edgekit.gate.baselines import Baseline
from edgekit.gate.budgets import Budget
from edgekit.gate.results import Result, of_measurement
from edgekit.gate.verdicts import Report, Verdict
from edgekit.profiling.measurement import Measurement

Judge = Callable[..., Report]


@pytest.fixture
def judge() -> Judge:
    """The report on measurements (or results) by budgets given as their YAML holds them."""

    def report(
        budgets: list[dict[str, Any]], given: list[Measurement | Result], baseline: list[Measurement | Result] | None = None
    ) -> Report:
        typed = [Budget.model_validate(budget) for budget in budgets]
        results = _results(given, "results.json")
        held_to = None if baseline is None else Baseline(_results(baseline, "baseline.json"))
        return verdicts.report(typed, results, verdicts.checks(typed, results, held_to))

    return report


@pytest.fixture
def verdict(judge: Judge) -> Callable[..., Verdict]:
    """The one verdict on a measurement by one limit."""

    def one(limits: dict[str, Any], given: Measurement | Result, baseline: Measurement | Result | None = None) -> Verdict:
        [found] = judge([limits], [given], None if baseline is None else [baseline]).verdicts
        return found

    return one


def _results(given: list[Measurement | Result], source: str) -> list[Result]:
    return [of_measurement(one, source) if isinstance(one, Measurement) else one for one in given]


@pytest.fixture
def write_budgets(tmp_path: Path) -> Callable[[str], Path]:
    """A budgets file with this text below `budgets:`."""

    def write(text: str) -> Path:
        path = tmp_path / "budgets.yaml"
        path.write_text(f"budgets:\n{text}\n", encoding="utf-8")
        return path

    return write
