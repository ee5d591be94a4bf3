"""Measurements and tiny models for the profiler's tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.profiling import roofline
from edgekit.profiling.measurement import Measurement, Process
from edgekit.profiling.subject import Subject
from edgekit.profiling.summary import summarize


def _process(latency_s: Sequence[float], **changes: Any) -> Process:
    fields: dict[str, Any] = {
        "latency_s": tuple(latency_s),
        "block_runs": (len(latency_s),),
        "warmup_runs": 9,
        "warmup_s": 0.3,
        "steady": True,
        "cold_load_s": 0.1,
        "first_run_s": 0.02,
        "waited_share": 0.0,
        "load_memory_bytes": 50_000_000,
        "peak_memory_bytes": 90_000_000,
        "core": 1,
    }
    return Process(**{**fields, **changes})


@pytest.fixture
def process() -> Callable[..., Process]:
    """A process with these latencies, and any field changed."""
    return _process


@pytest.fixture
def measurement() -> Callable[..., Measurement]:
    """A measurement of processes (two of 20 runs of 10 ms unless given), and anything else `summarize` takes."""

    def build(processes: Sequence[Process] | None = None, **changes: Any) -> Measurement:
        subject = Subject("net.onnx", opens="net.onnx", sha256="ab" * 32, model_bytes=10**6, macs=10**8)
        fields: dict[str, Any] = {
            "subject": subject,
            "runtime": "onnxruntime 1",
            "io_bytes": 0,
            "device": "host",
            "threads": 1,
            "inputs": "standard normal",
            "peak": roofline.Peak(macs_per_s=5e10, bytes_per_s=2e10, calm=True),
            "job": "a",
            "started_at": "2026-01-01T00:00:00+00:00",
        }
        given = {**fields, **changes}
        return summarize(given.pop("subject"), processes or [_process([0.01] * 20)] * 2, **given)

    return build


@pytest.fixture
def tiny_onnx(tmp_path: Path) -> Path:
    """x [1, 64] float32 times a 64 x 64 matrix."""
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
