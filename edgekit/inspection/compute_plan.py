"""Core ML's compute plan: where each operation of a package would run on this Mac.

Written on coremltools' documented interface; unverified on hardware: no Mac has run this file yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.inspection import Elsewhere, Placement
from edgekit.quiet import quiet

NEURAL_ENGINE = "neural_engine"
_UNITS = {"MLNeuralEngineComputeDevice": NEURAL_ENGINE, "MLGPUComputeDevice": "gpu", "MLCPUComputeDevice": "cpu"}
"""By the names of coremltools' classes."""


def read(model_file: Path) -> tuple[Placement | None, str]:
    """The plan for all compute units, or why there is none. Runs on macOS 14 and newer alone."""
    with quiet():
        import coremltools
        from coremltools.models.compute_plan import MLComputePlan
    try:
        with quiet():
            model = coremltools.models.MLModel(str(model_file))  # compiles it, and holds what it compiled
            plan = MLComputePlan.load_from_path(model.get_compiled_model_path())
            return placement(plan), ""
    except Exception as error:  # an older macOS or a model that it refuses raises the binding's own classes
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return None, f"Core ML made no compute plan for it: {cause}"


def placement(plan: Any) -> Placement:
    """What an `MLComputePlan` says of a program. Operations without a plan (constants) are left out."""
    operators: Counter[str] = Counter()
    cost: dict[str, float] = {}
    elsewhere = []
    for operation in _operations(plan.model_structure.program):
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        if usage is None:
            continue
        estimate = plan.get_estimated_cost_for_mlprogram_operation(operation)
        weight = None if estimate is None else float(estimate.weight)
        unit = _unit(usage.preferred_compute_device)
        operators[unit] += 1
        cost[unit] = cost.get(unit, 0) + (weight or 0)
        if unit != NEURAL_ENGINE:
            name = operation.outputs[0].name if operation.outputs else ""
            able = tuple(sorted(_unit(device) for device in usage.supported_compute_devices))
            # the plan names operators with their operator set: ios17.conv
            elsewhere.append(Elsewhere(operation.operator_name.rsplit(".", 1)[-1], name, unit, able, weight))
    elsewhere.sort(key=lambda one: -(one.cost or 0))
    return Placement(dict(operators.most_common()), cost, tuple(elsewhere))


def _operations(program: Any) -> Iterator[Any]:
    """Every operation of every function, nested ones included."""
    waiting = [function.block for function in program.functions.values()]
    while waiting:
        block = waiting.pop()
        for operation in block.operations:
            yield operation
            waiting.extend(operation.blocks)


def _unit(device: Any) -> str:
    kind = type(device).__name__
    return _UNITS.get(kind, kind)
