"""PyTorch eager: each operator that the model calls is timed where PyTorch dispatches it, with all that it calls in turn.

What Python does between operators is in none of them. Nor is it torch's profiler that times: it writes down what is called
inside each operator too, thousands of calls for a depthwise convolution, and slows such models down by a third.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.module_tracker import ModuleTracker

from edgekit.profiling import timing
from edgekit.profiling.measurement import OperatorProfile, OperatorTime
from edgekit.profiling.operators import shapes
from edgekit.program import count_macs
from edgekit.runtimes import Array

if TYPE_CHECKING:
    from edgekit.runtimes.eager import EagerSession

Arguments = tuple[Any, ...]
Keywords = Mapping[str, Any]


def profile(session: EagerSession, arrays: Sequence[Array]) -> OperatorProfile:
    """The operators that the model calls, in order."""
    described = _described(session, arrays)
    timed: list[list[tuple[OpOverload, float]]] = []
    runs = timing.repeated(lambda: timed.append(_timed(session, arrays)), clock=time.perf_counter)
    del timed[:-runs]
    operators = [operator for operator, _ in described]
    if any([operator for operator, _ in run] != operators for run in timed):
        return OperatorProfile(
            reason="the model calls other operators from run to run: profile an artifact of it, whose graph is fixed"
        )
    return OperatorProfile(
        operators=tuple(
            dataclasses.replace(told, time_s=statistics.median(run[place][1] for run in timed))
            for place, (_, told) in enumerate(described)
        ),
        runs=runs,
    )


def _timed(session: EagerSession, arrays: Sequence[Array]) -> list[tuple[OpOverload, float]]:
    """The operators of one run and the seconds each took."""
    taken = []

    def call(operator: OpOverload, args: Arguments, kwargs: Keywords) -> Any:
        started = time.perf_counter()
        made = operator(*args, **kwargs)
        taken.append((operator, time.perf_counter() - started))
        return made

    with _Calls(call):
        session.execute(arrays)
    return taken


def _described(session: EagerSession, arrays: Sequence[Array]) -> list[tuple[OpOverload, OperatorTime]]:
    """The operators of one run and all but their times, which are 0: hooks and counting would slow the timed runs."""
    found: list[tuple[OpOverload, OperatorTime]] = []
    counts = Counter[str]()

    def call(operator: OpOverload, args: Arguments, kwargs: Keywords) -> Any:
        made: list[Any] = []
        macs = count_macs(lambda: made.append(operator(*args, **kwargs)))
        given, results = list(_tensors((args, kwargs))), list(_tensors(made))
        name = operator._schema.name
        counts[name] += 1
        told = OperatorTime(
            name=f"{name} {counts[name]}",
            operator=name.removeprefix("aten::"),
            time_s=0.0,
            module=_innermost(modules.parents),
            macs=macs,
            bytes_moved=_moved(operator, given, results),
            shapes=shapes.written((tensor.shape for tensor in given), (tensor.shape for tensor in results)),
        )
        found.append((operator, told))
        return made[0]

    with ModuleTracker() as modules, _Calls(call):
        session.execute(arrays)
    return found


class _Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Has `call` call each operator that the model calls."""

    def __init__(self, call: Callable[[OpOverload, Arguments, Keywords], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self._call = call

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Arguments = (), kwargs: Keywords | None = None) -> Any:
        return self._call(func, args, kwargs or {})


def _innermost(modules: set[str]) -> str:
    """Of the modules around an operator, as the tracker names them: after their model's class."""
    return max(modules - {"Global"}, key=len, default="").partition(".")[2]


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _moved(func: OpOverload, given: Sequence[Tensor], results: Sequence[Tensor]) -> int:
    """Bytes of operands and results, each once; none for an operator that gives another view of its operand."""
    storages = {tensor.untyped_storage().data_ptr() for tensor in given}
    if results and not func._schema.is_mutable and all(r.untyped_storage().data_ptr() in storages for r in results):
        return 0
    return sum({id(tensor): tensor.nbytes for tensor in (*given, *results)}.values())
