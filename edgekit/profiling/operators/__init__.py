"""Where the time of a run goes, operator by operator, beside what each operator has to do.

A runtime's file here is found by the runtime's name and exports `profile(session, arrays) -> OperatorProfile`: the operators of
a session that `edgekit.runtimes` opened, each with its median time; the floors are added here. A runtime without a file tells
no operator's time.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit import runtimes
from edgekit.profiling import machine, timing
from edgekit.profiling.measurement import OperatorProfile, OperatorTime
from edgekit.runtimes import Array, Session, TensorSpec

if TYPE_CHECKING:
    from edgekit.devices import Device
    from edgekit.profiling.roofline import Peak
    from edgekit.profiling.settings import Settings
    from edgekit.profiling.subject import Subject

ON_A_GPU = OperatorProfile(
    reason="calling a GPU's operator only asks for it: NVIDIA's Nsight Systems (`nsys profile`) times its kernels, and edgekit "
    "those of the CPU (--device host)"
)

_RUN_S = 0.5
"""Of runs that are not traced, beside those that are."""
_ROUNDS = 5
"""Of files that are compared: their machine may be a third slower in one second than in the next."""

By = Literal["operator", "module", "shapes"]


def measure(device: Device, subject: Subject, settings: Settings, peak: Peak | None) -> OperatorProfile:
    """The operators of `subject` in a fresh process on `device`, run as the timed ones are: same threads, cores and inputs.

    Floors are for `peak`; there are none without it, and none for a model that does not compute in fp32. Raises what the
    device raises.
    """
    with device.start(subject, settings, cold=False) as trial:
        found = trial.operators()
    if found is None:
        return OperatorProfile(reason=f"{device.name} tells no operator's time: measure on a device where a runtime does")
    if peak is None or subject.model.precision not in (None, "fp32"):
        return found
    return dataclasses.replace(found, operators=tuple(_with_floor(operator, peak) for operator in found.operators))


def _with_floor(operator: OperatorTime, peak: Peak) -> OperatorTime:
    if operator.macs is None or operator.bytes_moved is None:
        return operator
    floor_s = max(operator.macs / peak.macs_per_s, operator.bytes_moved / peak.bytes_per_s)
    return dataclasses.replace(operator, floor_s=floor_s)


def of_session(session: Session, arrays: Sequence[Array]) -> OperatorProfile:
    """The operators of an open session on `arrays`, without floors; measured in this process."""
    package, _, runtime = type(session).__module__.rpartition(".")
    name = f"{__name__}.{runtime}"
    if package == runtimes.__name__ and importlib.util.find_spec(name):
        found: OperatorProfile = importlib.import_module(name).profile(session, arrays)
        return found
    return OperatorProfile(
        reason=f"{session.runtime} tells no operator's time: profile the same model's ONNX artifact, or the model itself "
        "(PyTorch eager), for theirs"
    )


def of_file(
    model_file: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], arrays: Sequence[Array]
) -> OperatorProfile:
    """The operators of a model file, likewise, on one thread; their times add up to a run's that is not traced and waits for
    nobody."""
    with runtimes.find(model_file.suffix).open(model_file, inputs, outputs) as session:
        session.set_threads(1)
        found = of_session(session, arrays)
        if found.reason is not None:
            return found
        waited = machine.thread_wait_clock()
        runs = timing.block(session.prepared(arrays), clock=time.perf_counter, duration_s=_RUN_S, waited=waited)
        latency_s = runs.latency_s if runs.waited_s is None else timing.net_s(runs.latency_s, runs.waited_s)
        return dataclasses.replace(found, operators=_untraced(found.operators, statistics.median(latency_s)))


def of_files(
    model_files: Sequence[Path], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], arrays: Sequence[Array]
) -> list[OperatorProfile]:
    """As `of_file` for each of several that take and give the same, measured by turns: medians over the rounds."""
    rounds = [[of_file(file, inputs, outputs, arrays) for file in model_files] for _ in range(_ROUNDS)]
    return [_median(of_one) for of_one in zip(*rounds, strict=True)]


def _median(found: Sequence[OperatorProfile]) -> OperatorProfile:
    """Of several profiles of one file."""
    times = zip(*(one.operators for one in found), strict=True)
    return OperatorProfile(
        operators=tuple(dataclasses.replace(each[0], time_s=statistics.median(one.time_s for one in each)) for each in times),
        runs=sum(one.runs for one in found),
    )


def _untraced(operators: Sequence[OperatorTime], run_s: float) -> tuple[OperatorTime, ...]:
    """The same without what tracing takes, which is as much for a small operator as for a large one."""
    beyond = max(sum(one.time_s for one in operators) - run_s, 0.0) / max(len(operators), 1)
    left = [max(one.time_s - beyond, 0.0) for one in operators]
    whole = run_s / sum(left) if sum(left) else 0.0
    return tuple(dataclasses.replace(one, time_s=whole * kept) for one, kept in zip(operators, left, strict=True))


@dataclass(frozen=True)
class Group:
    """Operators of one kind, of one module, or of one kind and shapes. Null is what is unknown of one of them."""

    name: str | None
    """The operator; the module (`""` is the model's own forward, None is unknown)."""
    calls: int
    time_s: float
    share: float
    """Of the time of all operators."""
    macs: int | None
    bytes_moved: int | None
    floor_s: float | None

    @property
    def efficiency(self) -> float | None:
        """The floor over the time: 1 is as fast as the machine goes. None without a floor."""
        return self.floor_s / self.time_s if self.floor_s and self.time_s else None


def grouped(profile: OperatorProfile, by: By = "operator", depth: int | None = None) -> list[Group]:
    """The operators by what they have in common, the longest first; modules by the first `depth` parts of their names."""
    members: dict[str | None, list[OperatorTime]] = {}
    for operator in profile.operators:
        members.setdefault(_key(operator, by, depth), []).append(operator)
    total_s = sum(operator.time_s for operator in profile.operators)
    groups = [_group(name, operators, total_s) for name, operators in members.items()]
    return sorted(groups, key=lambda group: -group.time_s)


def _key(operator: OperatorTime, by: By, depth: int | None) -> str | None:
    if by == "module":
        return None if operator.module is None else ".".join(operator.module.split(".")[:depth])
    return operator.operator if by == "operator" else f"{operator.operator} {operator.shapes or ''}".rstrip()


def _group(name: str | None, operators: Sequence[OperatorTime], total_s: float) -> Group:
    time_s = sum(operator.time_s for operator in operators)
    macs = [operator.macs for operator in operators if operator.macs is not None]
    moved = [operator.bytes_moved for operator in operators if operator.bytes_moved is not None]
    floors = [operator.floor_s for operator in operators if operator.floor_s is not None]
    every = len(operators)
    return Group(
        name=name,
        calls=every,
        time_s=time_s,
        share=time_s / total_s if total_s else 0.0,
        macs=sum(macs) if len(macs) == every else None,
        bytes_moved=sum(moved) if len(moved) == every else None,
        floor_s=sum(floors) if len(floors) == every else None,
    )
