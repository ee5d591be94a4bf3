"""The roofline: the machine's best, and the latency below which no model can go on it.

A peak is measured, not looked up: the fastest fp32 matrix multiplication of the libraries at hand (they differ by more
than two where one of them does not use the widest vectors), and the fastest read of an array larger than the caches.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from edgekit import cache
from edgekit.profiling import machine
from edgekit.profiling.measurement import Floor
from edgekit.profiling.peak import matrix
from edgekit.profiling.process import Asked, Worker

_METHOD = 1
"""Raise it when the way of measuring changes: cached peaks are then measured again."""


@dataclass(frozen=True)
class Peak:
    """The best this machine does with a number of threads, at fp32 multiply-adds and at reading main memory."""

    macs_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    bytes_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    calm: bool
    """Whether the machine was calm meanwhile. If not, the peaks may be too low; they are not cached."""


def floor(
    *,
    macs: int | None,
    model_bytes: int | None,
    io_bytes: int,
    precision: str | None,
    latency_s: float,
    peak: Peak | None,
) -> Floor:
    """The floor of a model whose measured median is `latency_s`."""
    bytes_moved = None if model_bytes is None else model_bytes + io_bytes
    reason = None
    if macs is None:
        reason = "the number of multiply-adds is known for exported artifacts and edgekit's own models only"
    elif bytes_moved is None:
        reason = "the size of the weights is unknown"
    elif precision not in (None, "fp32"):
        reason = f"the peak is measured for fp32, this model computes in {precision}"
    elif peak is None:
        reason = "the machine's peak was not measured"
    if macs is None or bytes_moved is None or peak is None or reason:
        return Floor(None, None, reason, None, bytes_moved, None, None, None)
    compute_s, memory_s = macs / peak.macs_per_s, bytes_moved / peak.bytes_per_s
    floor_s = max(compute_s, memory_s)
    return Floor(
        floor_s=floor_s,
        bound="compute" if compute_s >= memory_s else "memory",
        reason=None,
        beaten=latency_s < floor_s,
        bytes_moved=bytes_moved,
        peak_macs_per_s=peak.macs_per_s,
        peak_bytes_per_s=peak.bytes_per_s,
        peak_calm=peak.calm,
    )


def of_machine(threads: int, cores: tuple[int, ...] | None) -> Peak:
    """This machine's peak with `threads` threads, measured once on a calm machine and then read from the cache."""
    decides = (machine.os_name(), machine.cpu(), machine.cpu_flags(), machine.usable_cores(), threads)
    return _kept(decides, threads, lambda worker: ask(worker, threads, cores))


def of_gpu(index: int, name: str) -> Peak:
    """The peak of the GPU `name`, likewise."""
    return _kept(("gpu", name), 1, lambda worker: Peak(**worker.ask("gpu_peak", index=index)))


def _kept(decides: tuple[object, ...], threads: int, measure: Callable[[Worker], Peak]) -> Peak:
    """The peak of what `decides` it, from the cache or measured in a process of its own."""
    key = hashlib.sha256(json.dumps((_METHOD, *decides)).encode()).hexdigest()[:16]
    path = cache.folder() / "roofline" / f"{key}.json"
    try:
        return TypeAdapter(Peak).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        pass  # not measured yet, or damaged: measure
    with Worker("the machine's peak", threads=threads) as worker:
        measured = measure(worker)
    if measured.calm:
        cache.keep_small(path, asdict(measured))
    return measured


def ask(worker: Asked, threads: int, cores: tuple[int, ...] | None) -> Peak:
    """The peak of the machine that `worker` runs on, measured as the subjects are: same threads, same cores."""
    side = 64 * round(8 * math.sqrt(threads))  # about a millisecond: seldom interrupted, however busy the machine
    return Peak(**worker.ask("peak", threads=threads, cores=cores, side=side, product=_product(side)))


def _product(side: int) -> str:
    """The ONNX model that multiplies `a` by a constant matrix, in base64: only the machine that sends it needs `onnx`."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, (side, side))],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, (side, side))],
        [numpy_helper.from_array(matrix(side), "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return base64.b64encode(model.SerializeToString()).decode()
