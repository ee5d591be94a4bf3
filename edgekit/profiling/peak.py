"""A machine's best, measured where this runs: the fastest fp32 matrix product of the libraries at hand, and the fastest read of
memory; likewise its GPU's. Only numpy has to be there: boards run this file too."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

_READ_BYTES = 256 * 2**20
_READ_SHARE = 8
"""Of a small board's memory, at most one part in this many is read."""
_GPU_SIDE = 8192
_GPU_READ_BYTES = 4 * 2**30
_REPEATS_S = 0.4
_LEAST_REPEATS = 20
_CALM = 1.05

Matrix = npt.NDArray[np.float32]
Run = Callable[[], object]


def matrix(side: int) -> Matrix:
    """A [side, side] matrix, the same everywhere."""
    return np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)


def measure(threads: int, side: int, product: str) -> dict[str, float | bool]:
    """The fields of a `roofline.Peak`, measured in this process (about three seconds): `product` is, in base64, the ONNX model
    that multiplies its input `a` by `matrix(side)`."""
    multiplication_s, multiplications_calm = min(map(_fastest, _multiplications(threads, matrix(side), product)))
    size_bytes = min(_READ_BYTES, _memory_bytes() // _READ_SHARE)
    read_s, reads_calm = min(map(_fastest, _reads(size_bytes)))
    return {
        "macs_per_s": side**3 / multiplication_s,
        "bytes_per_s": size_bytes // 4 * 4 / read_s,
        "calm": multiplications_calm and reads_calm,
    }


def measure_gpu(index: int) -> dict[str, float | bool]:
    """The fields of a GPU's `Peak`, measured in this process. TF32 is allowed, as in every runtime's convolutions."""
    import torch

    device = torch.device("cuda", index)
    torch.backends.cuda.matmul.allow_tf32 = True
    square = torch.randn(_GPU_SIDE, _GPU_SIDE, device=device)
    product, vector = torch.empty_like(square), torch.ones(_GPU_READ_BYTES // 4, device=device)

    def finished(run: Run) -> Run:
        def whole() -> None:
            run()
            torch.cuda.synchronize(device)

        return whole

    multiplication_s, multiplications_calm = _fastest(finished(lambda: torch.mm(square, square, out=product)))
    read_s, reads_calm = _fastest(finished(vector.sum))
    return {
        "macs_per_s": _GPU_SIDE**3 / multiplication_s,
        "bytes_per_s": _GPU_READ_BYTES / read_s,
        "calm": multiplications_calm and reads_calm,
    }


def _multiplications(threads: int, square: Matrix, product: str) -> Iterator[Run]:
    out = np.empty_like(square)
    yield lambda: np.matmul(square, square, out=out)
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(threads)
        tensor = torch.from_numpy(square)
        yield lambda: torch.mm(tensor, tensor)
    with contextlib.suppress(ImportError):
        yield _onnxruntime_product(threads, square, product)


def _reads(size_bytes: int) -> Iterator[Run]:
    try:
        import torch
    except ImportError:
        vector = np.ones(size_bytes // 4, np.float32)
        yield functools.partial(np.dot, vector, vector)
        yield vector.max
    else:
        ones = torch.ones(size_bytes // 4)
        yield from (ones.sum, ones.max)


def _fastest(run: Run) -> tuple[float, bool]:
    """Seconds of the fastest of many runs, and whether a tenth of them came within 5 % of it (the machine was calm)."""
    seconds: list[float] = []
    started = time.perf_counter()
    while len(seconds) < _LEAST_REPEATS or time.perf_counter() - started < _REPEATS_S:
        before = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - before)
    return min(seconds), bool(np.quantile(seconds, 0.1) <= _CALM * min(seconds))


def _onnxruntime_product(threads: int, square: Matrix, product: str) -> Run:
    """In ONNX Runtime, whose kernels use AVX-512 on any processor that has it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(base64.b64decode(product), options, providers=["CPUExecutionProvider"])
    return functools.partial(session.run, None, {"a": square})


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
