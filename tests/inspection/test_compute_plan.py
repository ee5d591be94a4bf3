"""Core ML's compute plan, on objects of the shape that coremltools documents: a contract, not a Mac.

`MLComputePlan`'s structure classes are coremltools' own; its devices, which need Apple's library, go by the same class names.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import coremltools
import numpy as np
import programs
import pytest
from coremltools.converters import mil
from coremltools.models import compute_plan as published
from coremltools.models.compute_plan import (
    MLComputePlanCost,
    MLComputePlanDeviceUsage,
    MLModelStructure,
    MLModelStructureProgram,
    MLModelStructureProgramBlock,
    MLModelStructureProgramFunction,
    MLModelStructureProgramNamedValueType,
    MLModelStructureProgramOperation,
    MLModelStructureProgramValueType,
)

import edgekit
from edgekit.inspection import Elsewhere, compute_plan

mb = mil.Builder


class MLCPUComputeDevice: ...


class MLGPUComputeDevice: ...


class MLNeuralEngineComputeDevice: ...


CPU, GPU, ENGINE = MLCPUComputeDevice(), MLGPUComputeDevice(), MLNeuralEngineComputeDevice()


def _operation(operator: str, output: str, blocks: Any = ()) -> MLModelStructureProgramOperation:
    named = MLModelStructureProgramNamedValueType(output, MLModelStructureProgramValueType())
    return MLModelStructureProgramOperation({}, operator, [named], list(blocks), None)


class Plan:
    """As an `MLComputePlan`."""

    def __init__(self, planned: list[tuple[MLModelStructureProgramOperation, Any, list[Any], float | None]]) -> None:
        self._planned = {operation.outputs[0].name: told for operation, *told in planned}
        nested = {id(inner) for operation, *_ in planned for block in operation.blocks for inner in block.operations}
        body = MLModelStructureProgramBlock([], [operation for operation, *_ in planned if id(operation) not in nested], [])
        functions = {"main": MLModelStructureProgramFunction([], body)}
        self.model_structure = MLModelStructure(None, MLModelStructureProgram(functions), None)

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> MLComputePlanDeviceUsage | None:
        preferred, supported, _ = self._planned[operation.outputs[0].name]
        return None if preferred is None else MLComputePlanDeviceUsage(preferred, supported)

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> MLComputePlanCost | None:
        weight = self._planned[operation.outputs[0].name][2]
        return None if weight is None else MLComputePlanCost(weight)


def _plan() -> Plan:
    inner = _operation("ios17.gather", "picked")
    branch = MLModelStructureProgramBlock([], [inner], [])
    return Plan(
        [
            (_operation("const", "weight"), None, [], None),
            (_operation("ios17.conv", "map"), ENGINE, [CPU, GPU, ENGINE], 0.6),
            (_operation("ios17.softmax", "scores"), GPU, [CPU, GPU], 0.1),
            (_operation("ios17.cast", "out"), CPU, [CPU], None),
            (_operation("cond", "chosen", [branch]), CPU, [CPU], 0.0),
            (inner, CPU, [CPU], 0.3),
        ]
    )


def test_what_a_plan_says_is_counted_by_unit() -> None:
    found = compute_plan.placement(_plan())
    assert found.operators == {"cpu": 3, "neural_engine": 1, "gpu": 1}
    assert found.cost == {"neural_engine": 0.6, "gpu": 0.1, "cpu": 0.3}
    assert found.elsewhere == (
        Elsewhere("gather", "picked", "cpu", ("cpu",), 0.3),
        Elsewhere("softmax", "scores", "gpu", ("cpu", "gpu"), 0.1),
        Elsewhere("cast", "out", "cpu", ("cpu",), None),
        Elsewhere("cond", "chosen", "cpu", ("cpu",), 0.0),
    )


def test_coremltools_has_the_names_that_are_asked_for() -> None:
    for name in dir(Plan):
        if name.startswith("get_"):
            assert callable(getattr(published.MLComputePlan, name))
    assert callable(published.MLComputePlan.load_from_path)
    assert callable(coremltools.models.MLModel.get_compiled_model_path)
    devices = {kind.__name__ for kind in coremltools.models.compute_device.MLComputeDevice.__subclasses__()}
    assert set(compute_plan._UNITS) <= devices


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return programs.save(lambda x: mb.relu(x=x), tmp_path / "m.mlpackage", {"x": np.zeros((1, 2), np.float16)})


def test_on_a_mac_the_plan_is_in_the_report(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode that no Linux machine has: coremltools' loader of plans is stood in for."""
    asked: list[str] = []

    def load(path: str) -> Plan:
        asked.append(path)
        return _plan()

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(coremltools.models, "MLModel", lambda path: SimpleNamespace(get_compiled_model_path=lambda: f"{path}c"))
    monkeypatch.setattr(published.MLComputePlan, "load_from_path", load)
    report = edgekit.inspect(package)
    assert asked == [f"{package}c"]
    assert report.placement == compute_plan.placement(_plan())
    assert "placement" not in report.unknown


def test_a_plan_that_cannot_be_made_is_told(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on this machine, where Apple's library is missing."""
    monkeypatch.setattr(sys, "platform", "darwin")
    report = edgekit.inspect(package)
    assert report.placement is None
    assert report.unknown["placement"].startswith("Core ML made no compute plan for it: ")
