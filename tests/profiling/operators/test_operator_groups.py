"""Operators by what they have in common, and their tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.profiling import operators
from edgekit.profiling.measurement import OperatorProfile, OperatorTime
from edgekit.profiling.operators import _untraced, grouped, table


def _operator(operator: str, time_s: float, module: str | None, **told: Any) -> OperatorTime:
    return OperatorTime(name=f"{operator} of {module}", operator=operator, time_s=time_s, module=module, **told)


def _known(operator: str, time_s: float, module: str, macs: int = 0) -> OperatorTime:
    shapes = "1x8 -> 1x8" if operator == "Add" else "1x8x4x4, 8x8x3x3 -> 1x8x4x4"
    return _operator(operator, time_s, module, macs=macs, bytes_moved=100, floor_s=time_s / 2, shapes=shapes)


PROFILE = OperatorProfile(
    (_known("Conv", 4e-3, "blocks.0.conv", 10), _known("Add", 1e-3, "blocks.0"), _known("Conv", 3e-3, "blocks.1.conv", 10)),
    runs=9,
)


def test_operators_of_one_kind_are_one_group_and_the_longest_comes_first() -> None:
    conv, add = grouped(PROFILE)
    assert (conv.name, conv.calls, conv.macs, conv.bytes_moved) == ("Conv", 2, 20, 200)
    assert abs(conv.time_s - 7e-3) < 1e-12
    assert abs(conv.share - 7 / 8) < 1e-12
    assert conv.efficiency is not None
    assert abs(conv.efficiency - 0.5) < 1e-12
    assert (add.name, add.calls, add.macs) == ("Add", 1, 0)


def test_modules_are_cut_to_the_depth_asked_for() -> None:
    assert [group.name for group in grouped(PROFILE, "module")] == ["blocks.0.conv", "blocks.1.conv", "blocks.0"]
    assert [(group.name, group.calls) for group in grouped(PROFILE, "module", depth=2)] == [("blocks.0", 2), ("blocks.1", 1)]
    assert [(group.name, group.calls) for group in grouped(PROFILE, "module", depth=1)] == [("blocks", 3)]


def test_shapes_tell_operators_of_one_kind_apart() -> None:
    names = [group.name for group in grouped(PROFILE, "shapes")]
    assert names == ["Conv 1x8x4x4, 8x8x3x3 -> 1x8x4x4", "Add 1x8 -> 1x8"]


def test_what_is_unknown_of_one_operator_is_unknown_of_its_group_and_of_no_other() -> None:
    unknown = OperatorProfile((*PROFILE.operators, _operator("Add", 1e-3, None)), runs=9)
    conv, add = grouped(unknown)
    assert (conv.macs, add.macs, add.bytes_moved, add.floor_s, add.efficiency) == (20, None, None, None, None)
    assert grouped(unknown, "module", depth=1)[1].name is None


def test_an_empty_profile_has_no_groups() -> None:
    assert grouped(OperatorProfile(reason="the runtime tells none")) == []


def test_a_table_has_a_row_a_group_and_one_for_the_rest() -> None:
    conv, rest = table.rows(PROFILE, "shapes", shown=1)
    assert conv == {
        "operator and shapes": "Conv 1x8x4x4, 8x8x3x3 -> 1x8x4x4",
        "calls": "2",
        "ms": "7.000",
        "share": "87.5%",
        "M multiply-adds": "0.0",
        "MB": "0.00",
        "floor ms": "3.500",
        "time / floor": "2.0x",
    }
    assert (rest["operator and shapes"], rest["calls"], rest["share"]) == ("1 more", "1", "12.5%")


def test_a_table_shows_the_unknown_as_such() -> None:
    operators = (_operator("Add", 1e-3, None), _operator("Mul", 2e-3, ""))
    own, unknown = table.rows(OperatorProfile(operators, runs=1), "module")
    assert own["module"] == "(the model's own forward)"
    assert unknown["module"] == "(unknown)"
    assert {unknown[column] for column in ("M multiply-adds", "MB", "floor ms", "time / floor")} == {"-"}


def test_the_notes_tell_what_profiling_cost_and_what_has_no_module() -> None:
    unknown = OperatorProfile((*PROFILE.operators, _operator("Add", 2e-3, None)), runs=9)
    overhead, without = table.notes(unknown, p50_s=8e-3)
    assert "10.00 ms together, 25% more than the 8.00 ms" in overhead
    assert without == "1 of 4 operators (20.0% of the time) have no known module"
    assert "20% less than the 10.00 ms" in table.notes(PROFILE, p50_s=1e-2)[0]
    assert table.notes(PROFILE, p50_s=None) == []


def test_the_notes_tell_how_an_operator_beats_its_floor() -> None:
    cached = OperatorProfile((_operator("Add", 1e-3, "act", macs=0, bytes_moved=100, floor_s=2e-3),), runs=9)
    assert "in the processor's cache" in table.notes(cached, p50_s=None)[0]


def test_the_notes_tell_why_there_are_no_operators() -> None:
    assert table.notes(OperatorProfile(reason="build it"), p50_s=1e-3) == ["no operators: build it"]


def test_what_tracing_takes_of_each_operator_is_taken_off() -> None:
    traced = [OperatorTime(name, "Conv", time_s) for name, time_s in (("a", 10e-6), ("b", 20e-6), ("c", 4e-6))]
    assert [one.time_s for one in _untraced(traced, 25e-6)] == pytest.approx([7e-6, 17e-6, 1e-6])
    small = [one.time_s for one in _untraced([*traced, OperatorTime("d", "Add", 1e-6)], 23e-6)]
    assert small[-1] == 0
    assert sum(small) == pytest.approx(23e-6)
    slower = [one.time_s for one in _untraced(traced, 51e-6)]
    assert slower == pytest.approx([15e-6, 30e-6, 6e-6])
    assert _untraced([], 1.0) == ()


def test_files_that_are_compared_are_measured_by_turns_and_medians_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def of_file(model_file: Path, *_: object) -> OperatorProfile:
        measured.append(model_file.name)
        slow = 1.4 if len(measured) in (3, 4, 5) else 1.0  # a machine that does something else for a while
        return OperatorProfile((OperatorTime("a", "Conv", slow * len(model_file.stem)),), runs=10)

    monkeypatch.setattr(operators, "of_file", of_file)
    found = operators.of_files([Path("ab.onnx"), Path("abc.onnx")], [], [], [])
    assert measured == ["ab.onnx", "abc.onnx"] * 5
    assert [(one.operators[0].time_s, one.runs) for one in found] == [(2.0, 50), (3.0, 50)]
