"""The reference interpreter's operations, and ExecuTorch's absence."""

from __future__ import annotations

from pathlib import Path

import pytest
from nested_model import BLOCK, FC, STEM

import edgekit
from edgekit.profiling import operators
from edgekit.runtimes import Array, coreml


@pytest.mark.slow
def test_each_operation_has_its_time_multiply_adds_and_bytes(nested_file: Path, arrays: list[Array], tmp_path: Path) -> None:
    made = edgekit.export(f"{nested_file}:build", "coreml", input_shapes=((1, 3, 32, 32),), output=tmp_path)
    session = coreml.open_stand_in(made.model_file)
    profile = operators.of_session(session, arrays)
    assert profile.reason is None
    assert sum(operator.macs or 0 for operator in profile.operators) == STEM + 2 * BLOCK + FC
    conv = next(operator for operator in profile.operators if operator.macs == BLOCK)
    assert conv.operator == "conv"
    assert conv.shapes == "1x16x16x16, 16x16x3x3, 16 -> 1x16x16x16"
    assert conv.bytes_moved is not None
    assert 0 <= conv.bytes_moved - 2 * (2 * 16**3 + 16 * 16 * 9 + 16) < 64, "in fp16, and its parameters"
    assert all(operator.time_s > 0 for operator in profile.operators)
    assert all(operator.module is None for operator in profile.operators)
    assert len(session.execute(arrays)) == 1, "the session is as it was"


@pytest.mark.slow
def test_executorch_says_how_to_get_what_its_wheel_does_not_tell(
    nested_file: Path, arrays: list[Array], tmp_path: Path
) -> None:
    made = edgekit.export(f"{nested_file}:build", "executorch", input_shapes=((1, 3, 32, 32),), output=tmp_path)
    profile = operators.of_session(edgekit.open(made.directory), arrays)
    assert profile.operators == ()
    assert "-DEXECUTORCH_ENABLE_EVENT_TRACER=ON" in (profile.reason or "")
