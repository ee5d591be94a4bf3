"""Core ML packages, read as the reference interpreter reads them; linted, and on a Mac beside Core ML's own compute plan."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgekit.inspection import Memory, Placement, Report, Weight, compute_plan, counted, lint, liveness
from edgekit.inspection.lint import Graph
from edgekit.profiles import RuntimeProfile
from edgekit.runtimes import coreml_reference
from edgekit.runtimes.coreml_reference import package
from edgekit.runtimes.coreml_reference.package import Block, Operation

_METHOD = (
    "every result in program order in memory of its own, at its declared type; Core ML fuses operators, and the Neural Engine "
    "pads tensors to its layout"
)


def read(model_file: Path, profile: RuntimeProfile) -> Report:
    """The report on the default function of an mlprogram package. Raises ArtifactError and Unsupported as
    `coreml_reference.package.load`."""
    function = package.load(model_file)
    graph = Graph(function, profile)
    results = [declared for operation in graph.operations for _, declared in operation.outputs]
    weights = tuple(sorted(_weights(function.body), key=lambda weight: -weight.size_bytes))
    memory, reason = _memory(graph, sum(weight.size_bytes for weight in weights))
    placement, why = _placement(model_file)
    return Report(
        format="coreml",
        operators=counted(operation.operator for operation in graph.operations),
        weights=weights,
        activation_dtypes=counted(coreml_reference.numpy_name(declared.dtype) for declared in results),
        inputs=tuple(coreml_reference.spec(function, name) for name in function.inputs),
        outputs=tuple(coreml_reference.spec(function, name) for name in function.outputs),
        largest_rank=max((len(declared.shape) for declared in results), default=0),
        memory=memory,
        findings=lint.run(graph),
        placement=placement,
        unknown={
            **({} if memory else {"memory": reason}),
            **({} if placement else {"placement": why}),
            "delegation": "Core ML divides a program among its units when it loads it: see placement",
        },
    )


def _placement(model_file: Path) -> tuple[Placement | None, str]:
    if sys.platform != "darwin":
        return None, "only a Mac has Core ML's compute plan: run `edgekit inspect` there"
    return compute_plan.read(model_file)


def _weights(body: Block) -> Iterator[Weight]:
    """The stored tensors, each once; compressed ones as they are stored."""
    for operation in body.walk():
        if operation.operator == "const":
            name, declared = operation.outputs[0]
            if lint.is_weight(declared):
                dtype = coreml_reference.numpy_name(declared.dtype)
                shape = tuple(size or 0 for size in declared.shape)
                yield Weight(lint.layer_name(name), dtype, shape, lint.size_bytes(declared) or 0)
        elif operation.operator.startswith("constexpr_") and (stored := list(lint.stored(operation))):
            name, declared = operation.outputs[0]
            size = sum(size for size, _ in stored)
            kind = f"{_dtype(operation, max(stored)[1])} ({operation.operator.removeprefix('constexpr_')})"
            yield Weight(lint.layer_name(name), kind, tuple(size or 0 for size in declared.shape), size)


def _dtype(operation: Operation, largest: str) -> str:
    """What a compressed weight is stored as: by its palette's size, where it has one, for indices lie packed in bytes."""
    (table,) = operation.arguments.get("lut", (None,))
    if not isinstance(table, np.ndarray):
        return largest
    entries = table.shape[-2] if table.ndim > 1 else len(table)
    return f"uint{max(1, (entries - 1).bit_length())}"


def _memory(graph: Graph, weights_bytes: int) -> tuple[Memory | None, str]:
    """The estimate, or why there is none."""
    results = (result for operation in graph.operations for result in operation.outputs)
    sizes = {name: lint.size_bytes(declared) for name, declared in [*graph.function.inputs.items(), *results]}
    if open_sizes := [name for name, size in sizes.items() if size is None]:
        return None, f"{len(open_sizes)} of {len(sizes)} values have sizes that depend on the inputs, such as {open_sizes[0]}"
    steps = [
        liveness.Step(
            graph.name(operation), set(graph.read(operation)), {name: sizes[name] or 0 for name, _ in operation.outputs}
        )
        for operation in graph.operations
    ]
    given = {name: sizes[name] or 0 for name in graph.function.inputs}
    most, at = liveness.peak(steps, given, set(graph.function.body.outputs))
    return Memory(weights_bytes, most, at, _METHOD), ""
