"""The comparison's table and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from bench import Entry, best, lines, report, verdict

from edgekit.profiling.measurement import Measurement

_Took = Callable[..., Measurement]


@pytest.fixture
def took(measurement: Callable[..., Measurement], process: Callable[..., Any]) -> _Took:
    """A measurement of two processes whose runs took about so many milliseconds."""

    def build(milliseconds: float, spread: float = 0.01) -> Measurement:
        runs = [milliseconds * (1 + spread * (i % 5 - 2)) / 1e3 for i in range(40)]
        return measurement([process(runs)] * 2)

    return build


@pytest.fixture
def entries(took: _Took) -> list[Entry]:
    """One of edgekit's that failed, one that did not; a fast rival that is wrong, a right one, one that failed."""
    return [
        Entry("edgekit, onnx", True, 101.0, 2e-5, measurement=took(10)),
        Entry("edgekit, executorch", True, None, None, "lowering failed: no kernel"),
        Entry("hasty", False, 12.0, 0.4, measurement=took(1)),
        Entry("sound", False, 99.0, 3e-5, measurement=took(15)),
        Entry("slow", False, 99.0, 3e-5, measurement=took(30)),
        Entry("stuck", False, None, None, "convert crashed (signal SIGABRT)"),
    ]


def _cells(table: Sequence[str]) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert len({len(row) for row in rows}) == 1
    return {row[0]: row[1:] for row in rows}


def test_a_wrong_answer_is_no_rival_however_fast(entries: list[Entry]) -> None:
    theirs = best(entries, ours=False)
    assert theirs is not None
    assert theirs.title == "sound"
    assert _cells(lines(entries))["hasty"][-2] == "**12: wrong**"


def test_the_table_has_ours_first_then_the_fastest_then_what_failed_and_why(entries: list[Entry]) -> None:
    cells = _cells(lines(entries))
    assert list(cells)[2:] == ["edgekit, onnx", "edgekit, executorch", "hasty", "sound", "slow", "stuck"]
    assert cells["stuck"][0] == "convert crashed (signal SIGABRT)"
    assert set(cells["stuck"][1:]) == {"-"}
    assert cells["edgekit, onnx"][2] == "1.00x [1.00, 1.00]"
    assert cells["sound"][2] == "1.50x [1.50, 1.50]"
    assert cells["sound"][3:] == ["99", "3.0e-05"]


def test_the_verdict_is_the_last_line(entries: list[Entry]) -> None:
    last = report("tiny", entries).splitlines()[-1]
    assert last == f"**{verdict(entries)}.**"
    assert last.startswith(
        "**edgekit's best (edgekit, onnx) beside the best rival (sound, onnxruntime 1): faster by 1.50x [1.50, 1.50]"
    )


def test_slower_is_said_as_well(took: _Took) -> None:
    pair = [Entry("a", True, 99.0, 0.0, measurement=took(20)), Entry("b", False, 99.0, 0.0, measurement=took(10))]
    assert verdict(pair) == "edgekit's best (a) beside the best rival (b, onnxruntime 1): slower by 2.00x [2.00, 2.00]"


def test_what_cannot_be_told_apart_is_no_victory(took: _Took) -> None:
    pair = [
        Entry("a", True, 99.0, 0.0, measurement=took(10, spread=0.2)),
        Entry("b", False, 99.0, 0.0, measurement=took(10, spread=0.2)),
    ]
    assert "no difference shown (1.00x" in verdict(pair)


def test_without_a_right_one_on_either_side_there_is_no_verdict(took: _Took) -> None:
    only = [Entry("a", True, 99.0, 0.0, measurement=took(10)), Entry("b", False, 3.0, 0.9, measurement=took(1))]
    assert verdict(only) == "No verdict: no rival was both right and measured."
    assert verdict(only[1:]) == "No verdict: no artifact of edgekit's was both right and measured."
