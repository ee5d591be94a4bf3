"""The roofline: the machine's best, and the latency below which no model can go on it.

A peak is measured, not looked up: the fastest fp32 matrix multiplication of the libraries at hand (they differ by more
than two where one of them does not use the widest vectors), and the fastest read of an array larger than the caches.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from edgekit import cache
from edgekit.profiling import machine
from edgekit.profiling.measurement import Floor
from edgekit.profiling.process import Worker

if TYPE_CHECKING:
    pass

_READ_BYTES = 256 * 2**20
_GPU_SIDE = 8192
_GPU_READ_BYTES = 4 * 2**30
_REPEATS_S = 0.4
_LEAST_REPEATS = 20
_CALM = 1.05
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
    return _kept(decides, threads=threads, cores=cores)


def of_gpu(index: int, name: str) -> Peak:
    """The peak of the GPU `name`, likewise."""
    return _kept(("gpu", name), threads=1, cores=None, gpu=index)


def _kept(decides: tuple[object, ...], *, threads: int, **arguments: object) -> Peak:
    """The peak that `decides` it, from the cache or measured in a process of its own."""
    key = hashlib.sha256(json.dumps((_METHOD, *decides)).encode()).hexdigest()[:16]
    path = cache.folder() / "roofline" / f"{key}.json"
    try:
        return TypeAdapter(Peak).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        pass  # not measured yet, or damaged: measure
    with Worker("the machine's peak", threads=threads) as worker:
        peak = Peak(**worker.ask("peak", threads=threads, **arguments))
    if peak.calm:
        cache.keep_small(path, asdict(peak))
    return peak


def measure_peak(threads: int) -> dict[str, float | bool]:
    """The fields of a `Peak`, measured in this process (about three seconds)."""
    import torch

    torch.set_num_threads(threads)
    side = 64 * round(8 * math.sqrt(threads))  # about a millisecond: seldom interrupted, however busy the machine
    matrix = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    product, tensor = np.empty_like(matrix), torch.from_numpy(matrix)
    multiplications: list[Callable[[], object]] = [
        lambda: np.matmul(matrix, matrix, out=product),
        lambda: torch.mm(tensor, tensor),
        _onnxruntime_product(matrix, threads),
    ]
    vector = torch.ones(_READ_BYTES // 4)
    reads: list[Callable[[], object]] = [vector.sum, vector.max]
    multiplication_s, multiplications_calm = min(map(_fastest, multiplications))
    read_s, reads_calm = min(map(_fastest, reads))
    return {
        "macs_per_s": side**3 / multiplication_s,
        "bytes_per_s": _READ_BYTES / read_s,
        "calm": multiplications_calm and reads_calm,
    }


def measure_gpu_peak(index: int) -> dict[str, float | bool]:
    """The fields of a GPU's `Peak`, measured in this process. TF32 is allowed, as in every runtime's convolutions."""
    import torch

    device = torch.device("cuda", index)
    torch.backends.cuda.matmul.allow_tf32 = True
    matrix = torch.randn(_GPU_SIDE, _GPU_SIDE, device=device)
    product, vector = torch.empty_like(matrix), torch.ones(_GPU_READ_BYTES // 4, device=device)

    def finished(run: Callable[[], object]) -> Callable[[], object]:
        def whole() -> None:
            run()
            torch.cuda.synchronize(device)

        return whole

    multiplication_s, multiplications_calm = _fastest(finished(lambda: torch.mm(matrix, matrix, out=product)))
    read_s, reads_calm = _fastest(finished(vector.sum))
    return {
        "macs_per_s": _GPU_SIDE**3 / multiplication_s,
        "bytes_per_s": _GPU_READ_BYTES / read_s,
        "calm": multiplications_calm and reads_calm,
    }


def _fastest(run: Callable[[], object]) -> tuple[float, bool]:
    """Seconds of the fastest of many runs, and whether a tenth of them came within 5 % of it (the machine was calm)."""
    seconds: list[float] = []
    started = time.perf_counter()
    while len(seconds) < _LEAST_REPEATS or time.perf_counter() - started < _REPEATS_S:
        before = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - before)
    return min(seconds), bool(np.quantile(seconds, 0.1) <= _CALM * min(seconds))


def _onnxruntime_product(matrix: np.ndarray[Any, np.dtype[np.float32]], threads: int) -> Callable[[], object]:
    """`matrix @ matrix` in ONNX Runtime, whose kernels use AVX-512 on any processor that has it."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, matrix.shape)],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, matrix.shape)],
        [numpy_helper.from_array(matrix, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return functools.partial(session.run, None, {"a": matrix})
