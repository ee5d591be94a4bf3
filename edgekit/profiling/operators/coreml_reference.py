"""The reference interpreter of Core ML programs: how long each operation takes it.

Reference timing: it says where this interpreter spends its time, nothing of Core ML or of a phone.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.inspection import lint
from edgekit.profiling import timing
from edgekit.profiling.measurement import OperatorProfile, OperatorTime
from edgekit.profiling.operators import shapes
from edgekit.runtimes import Array
from edgekit.runtimes.coreml_reference import binding, ops
from edgekit.runtimes.coreml_reference.package import Operation, Reference, Type

if TYPE_CHECKING:
    from torch import Tensor

    from edgekit.runtimes.coreml_reference import CoreMLReferenceSession


def profile(session: CoreMLReferenceSession, arrays: Sequence[Array]) -> OperatorProfile:
    """The operations of the program's outermost block; what branches and loops do is part of theirs."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        [flops] = _observed(session, arrays, counter.get_total_flops, _once)
    seconds = _observed(session, arrays, time.perf_counter, functools.partial(timing.repeated, clock=time.perf_counter))
    operations = {operation.outputs[0][0]: operation for operation in session.function.body.operations if operation.outputs}
    types = {**session.function.inputs, **session.function.results}
    return OperatorProfile(
        operators=tuple(
            _operator(operations[name], statistics.median(run[name] for run in seconds), int(flops[name] // 2), types)
            for name in flops
        ),
        runs=len(seconds),
    )


def _observed(
    session: CoreMLReferenceSession,
    arrays: Sequence[Array],
    meter: Callable[[], float],
    repeat: Callable[[Callable[[], object]], int],
) -> list[dict[str, float]]:
    """By how much the meter rose over each operation, in each of the runs that `repeat` says it made last."""
    runs: list[dict[str, float]] = []
    before = 0.0

    def observe(operation: Operation, name: str, value: Tensor) -> Tensor:
        nonlocal before
        runs[-1][operation.outputs[0][0]] += meter() - before
        before = meter()
        return value

    def run() -> None:
        nonlocal before
        runs.append(defaultdict(float))
        before = meter()
        session.execute(arrays)

    session.observer = observe
    try:
        return runs[-repeat(run) :]
    finally:
        session.observer = None


def _once(run: Callable[[], object]) -> int:
    run()
    return 1


def _operator(operation: Operation, time_s: float, macs: int, types: Mapping[str, Type]) -> OperatorTime:
    order = binding.parameters(ops.operators()[operation.operator])  # packages hold arguments in any
    given = (part for parameter in order for part in operation.arguments.get(parameter, ()))
    operands = {part.name: types[part.name] for part in given if isinstance(part, Reference)}
    tensors = {name: declared for name, declared in operands.items() if lint.is_weight(declared)}
    sizes = [lint.size_bytes(declared) for declared in {**operands, **dict(operation.outputs)}.values()]
    return OperatorTime(
        name=operation.name,
        operator=operation.operator,
        time_s=time_s,
        macs=macs,
        bytes_moved=None if None in sizes else sum(size or 0 for size in sizes),
        shapes=shapes.written(
            (declared.shape for declared in tensors.values()), (declared.shape for _, declared in operation.outputs)
        ),
    )
