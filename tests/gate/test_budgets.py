"""The budgets file: what it may hold, and the errors for what it may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.gate import budgets
from edgekit.gate.budgets import QUANTITIES, Budget, Limit

Write = Callable[[str], Path]


def test_an_entry_has_selectors_and_limits_that_are_absolute_or_relative(write_budgets: Write) -> None:
    [first, second] = budgets.read(
        write_budgets(
            """
  - {model: lsnet_t, target: onnx, device: host, latency_p50_ms: 12, size_mb: 50}
  - {latency_p50_ms: {relative: 1.05}, delegated_fraction: 0.9, accuracy_drop: 0}
"""
        )
    )
    assert first.selectors == {"model": "lsnet_t", "target": "onnx", "device": "host"}
    assert first.limits == {"latency_p50_ms": Limit(12), "size_mb": Limit(50)}
    assert str(first) == "model lsnet_t, target onnx, device host"
    assert second.limits == {
        "latency_p50_ms": Limit(1.05, relative=True),
        "delegated_fraction": Limit(0.9),
        "accuracy_drop": Limit(0),
    }
    assert str(second) == "every result"


def test_every_limit_says_how_its_quantity_is_read() -> None:
    assert set(QUANTITIES) == {
        name for name, field in Budget.model_fields.items() if "Limit" in str(field.annotation)
    }  # fmt: skip
    assert len(QUANTITIES) == 11


@pytest.mark.parametrize(
    ("text", "what", "told"),
    [
        (" - {model: a, latency_p5_ms: 12}", "unknown key 'budgets.0.latency_p5_ms'", "did you mean latency_p50_ms"),
        (" - {modle: a, size_mb: 12}", "unknown key 'budgets.0.modle'", "did you mean model"),
        (" - {model: a}", "'budgets.0' cannot be {'model': 'a'}", "it has no limit: give one of latency_p50_ms"),
        (" - {size_mb: -3}", "'budgets.0.size_mb' cannot be -3", "a positive number, or {relative: 1.05}"),
        (" - {size_mb: 0}", "'budgets.0.size_mb' cannot be 0", "a positive number"),
        (" - {size_mb: .nan}", "'budgets.0.size_mb' cannot be nan", "a positive number"),
        (" - {size_mb: .inf}", "'budgets.0.size_mb' cannot be inf", "a positive number"),
        (" - {size_mb: yes}", "'budgets.0.size_mb' cannot be True", "a positive number"),
        (" - {size_mb: '12'}", "'budgets.0.size_mb' cannot be '12'", "a positive number"),
        (" - {size_mb: }", "'budgets.0.size_mb' cannot be None", "a positive number"),
        (" - {size_mb: {relativ: 2}}", "'budgets.0.size_mb' cannot be {'relativ': 2}", "is written {relative: 1.05}"),
        (" - {size_mb: {relative: -2}}", "'budgets.0.size_mb' cannot be {'relative': -2}", "a positive number"),
        (" - {accuracy_drop: {relative: 1}}", "'budgets.0.accuracy_drop'", "a number of points, 0 or more"),
        (" - {accuracy_drop: -1}", "'budgets.0.accuracy_drop' cannot be -1", "a number of points, 0 or more"),
        (" - {delegated_fraction: 95}", "'budgets.0.delegated_fraction' cannot be 95", "a fraction is at most 1"),
        (" - {threads: 0, size_mb: 3}", "'budgets.0.threads' cannot be 0", "greater than or equal to 1"),
        (" []", "'budgets' cannot be []", "at least 1 item"),
        (" - 3", "'budgets.0' cannot be 3", "dictionary"),
        (" - [", "is not readable YAML", "expected"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(write_budgets: Write, text: str, what: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        budgets.read(write_budgets(text))
    assert what in caught.value.what
    assert told in f"{caught.value.cause} {caught.value.next_step}"
    assert "budgets.yaml" in caught.value.what


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml does not exist"):
        budgets.read(tmp_path / "nowhere.yaml")
