"""The peak of live bytes, by hand."""

from __future__ import annotations

from edgekit.inspection.liveness import Step, peak


def test_a_value_lives_to_its_last_reader() -> None:
    steps = [
        Step("a", {"x"}, {"a": 10}),
        Step("b", {"a"}, {"b": 1}),
        Step("c", {"a"}, {"c": 2}),
        Step("d", {"b", "c"}, {"d": 4}),
    ]
    # a: x 5 + a 10; b: a 10 + b 1; c: a 10 + b 1 + c 2; d: b 1 + c 2 + d 4
    assert peak(steps, {"x": 5}, {"d"}) == (15, "a")
    assert peak(steps, {"x": 1}, {"d"}) == (13, "c")


def test_operands_and_results_live_together_and_outputs_to_the_end() -> None:
    steps = [Step("a", {"x"}, {"a": 8}), Step("b", {"a"}, {"b": 8}), Step("c", {"b"}, {"c": 8})]
    assert peak(steps, {"x": 8}, {"c"}) == (16, "a")
    assert peak(steps, {"x": 8}, {"a", "c"}) == (24, "c")
    assert peak(steps, {"x": 8}, {"x", "a", "c"}) == (32, "c")


def test_what_nobody_reads_is_let_go() -> None:
    assert peak([Step("a", {"x"}, {"a": 1, "unused": 9}), Step("b", {"a"}, {"b": 1})], {"x": 1, "idle": 50}, {"b"}) == (11, "a")


def test_inputs_alone_can_be_the_peak() -> None:
    assert peak([Step("a", {"x"}, {"a": 0})], {"x": 7}, {"a"}) == (7, "")
