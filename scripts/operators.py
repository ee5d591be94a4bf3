"""Where the time goes, by operator and shapes: ONNX Runtime's own profile of edgekit's artifacts and, where it is installed,
OpenVINO's of the same modules, beside the multiply-adds."""

from __future__ import annotations

import importlib.metadata
import json
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import rival

import edgekit
from edgekit import cache
from edgekit.profiling import machine

REPORT = Path(__file__).parent.parent / "reports" / "where_time_goes.md"
RIVAL = "OpenVINO"
MODELS = ("lsnet_t", "spartan_s", "casvit_xs", "affnet_et")
_WARM_UP, _RUNS, _SHOWN = 10, 40, 25


Shape = tuple[int, ...]
Node = tuple[str, tuple[Shape, ...], Shape, float]
"""A node's operator, its operands' shapes, its result's shape, and the seconds it took."""


@dataclass
class Group:
    """The nodes of one operator with the same shapes, in the graph that a runtime made of the model."""

    operator: str
    inputs: tuple[Shape, ...]
    output: Shape
    nodes: int = 0
    time_s: float = 0.0

    @property
    def macs(self) -> int:
        """Multiply-adds of all its nodes; 0 for operators that are no sums of products, and where ONNX Runtime has packed the
        constant operand and tells no shape of it."""
        if len(self.inputs) < 2:
            return 0
        if self.operator in ("Conv", "Convolution"):
            return self.nodes * math.prod(self.output) * math.prod(self.inputs[1][1:])
        if self.operator == "GroupConvolution":  # OpenVINO's weights have an axis of groups
            return self.nodes * math.prod(self.output) * math.prod(self.inputs[1][2:])
        if self.operator in ("MatMul", "FusedMatMul", "Gemm", "FullyConnected"):
            # Transposed in any way, so by the numbers of elements: b m k times b k n over b m n is b k^2.
            left, right, made = math.prod(self.inputs[0]), math.prod(self.inputs[1]), math.prod(self.output)
            batch = math.prod(self.output[:-2]) if len(self.inputs[1]) > 2 else 1
            return self.nodes * made * math.isqrt(left * right // (made * batch))
        return 0


def onnxruntime_nodes(model: Path) -> list[Node]:
    """What ONNX Runtime tells of an artifact's nodes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        random = np.random.default_rng(0)
        feed = {spec.name: random.standard_normal(spec.shape, np.float32) for spec in session.get_inputs()}
        for _ in range(_WARM_UP + _RUNS):
            session.run(None, feed)
        return nodes_of(json.loads(Path(session.end_profiling()).read_text()))


def nodes_of(events: list[dict[str, Any]]) -> list[Node]:
    """The nodes in ONNX Runtime's profile, each with its median over the runs."""
    times: dict[str, list[float]] = defaultdict(list)
    nodes: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"]].append(event["dur"] / 1e6)
            nodes[event["name"]] = event["args"]
    return [
        (
            told["op_name"],
            _shapes(told["input_type_shape"]),
            _shapes(told["output_type_shape"])[0],
            statistics.median(times[name][_WARM_UP:] or times[name]),
        )
        for name, told in nodes.items()
    ]


def openvino_nodes(model: Path) -> list[Node]:
    """What OpenVINO tells of a model's nodes, compiled as `rivals/openvino_default.py` compiles it."""
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(model, "CPU", settings | {"PERF_COUNT": True})
    request, random = compiled.create_infer_request(), np.random.default_rng(0)
    feed = [random.standard_normal(tuple(spec.shape), np.float32) for spec in compiled.inputs]
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(_WARM_UP + _RUNS):
        request.infer(feed, share_inputs=True)
        for told in request.get_profiling_info():
            times[told.node_name].append(told.real_time.total_seconds())
    operators = {told.node_name: told.node_type for told in request.get_profiling_info()}
    return [
        (
            operators[node.get_friendly_name()],
            tuple(tuple(operand.get_shape()) for operand in node.inputs()),
            tuple(node.outputs()[0].get_shape()),
            statistics.median(times[node.get_friendly_name()][_WARM_UP:]),
        )
        for node in compiled.get_runtime_model().get_ordered_ops()
        if any(times.get(node.get_friendly_name(), ()))
    ]


def grouped(nodes: Iterable[Node]) -> list[Group]:
    """The nodes by operator and shapes, the longest first."""
    groups: dict[tuple[object, ...], Group] = {}
    for operator, inputs, output, time_s in nodes:
        group = groups.setdefault((operator, inputs, output), Group(operator, inputs, output))
        group.nodes += 1
        group.time_s += time_s
    return sorted(groups.values(), key=lambda group: -group.time_s)


def _shapes(described: list[dict[str, list[int]]]) -> tuple[Shape, ...]:
    return tuple(tuple(next(iter(tensor.values()))) for tensor in described)


def section(name: str, groups: list[Group]) -> list[str]:
    """A model's part of the report."""
    total = sum(group.time_s for group in groups)
    macs = sum(group.macs for group in groups)
    by_operator: dict[str, float] = defaultdict(float)
    for group in groups:
        by_operator[group.operator] += group.time_s
    shares = (f"{operator} {time_s / total:.0%}" for operator, time_s in sorted(by_operator.items(), key=lambda i: -i[1])[:8])
    lines = [
        f"\n## {name}\n",
        f"{1e3 * total:.2f} ms in {sum(group.nodes for group in groups)} nodes, {macs / 1e9:.3f} G multiply-adds: "
        f"{', '.join(shares)}.\n",
        "| operator | nodes | operands -> result | ms | share | M multiply-adds | G a second |",
        "|---|---|---|---|---|---|---|",
    ]
    for group in groups[:_SHOWN]:
        shapes = f"{', '.join(map(_times, group.inputs))} -> {_times(group.output)}"
        work = (f"{group.macs / 1e6:.1f}", f"{group.macs / group.time_s / 1e9:.0f}") if group.macs else ("", "")
        cells = [group.operator, str(group.nodes), shapes, f"{1e3 * group.time_s:.3f}", f"{group.time_s / total:.1%}", *work]
        lines.append(f"| {' | '.join(cells)} |")
    rest = groups[_SHOWN:]
    left = sum(group.time_s for group in rest)
    lines.append(f"| {len(rest)} groups more | {sum(g.nodes for g in rest)} | | {1e3 * left:.3f} | {left / total:.1%} | | |")
    return lines


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "1"


def sections(name: str, folder: Path) -> list[str]:
    """Both runtimes' parts of the report, or why OpenVINO has none."""
    made = edgekit.export(name, "onnx", output=folder)
    lines = section(f"{name}, edgekit's artifact in ONNX Runtime", grouped(onnxruntime_nodes(made.directory / "model.onnx")))
    [other] = [found for found in rival.find() if found.title == RIVAL]
    theirs = rival.make(other, made, cache.folder() / "rivals")
    title = f"{name}, the module in {RIVAL}"
    if theirs.failure:
        return [*lines, f"\n## {title}\n\n{theirs.failure}"]
    return lines + section(title, grouped(openvino_nodes(Path(theirs.subject.partition(":")[2], "model.xml"))))


def main(*models: str) -> None:
    """Export and profile each model, and write the report."""
    machine.pin((machine.fastest_core() or 0,))
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("onnxruntime", "openvino") if _installed(name)]
    lines = [
        "# Where the time goes",
        "",
        f"Made by `{' '.join(['scripts/operators', *models])}` on {machine.cpu()}, {', '.join(versions)}, fp32, one thread: "
        "each runtime's own profile of the graph it made, medians a node. Profiling adds about a microsecond a node. OpenVINO "
        "computes what follows a convolution element by element inside it. ExecuTorch's wheel has no profiler.",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name in models or MODELS:
            lines += sections(name, Path(folder, name))
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _installed(name: str) -> bool:
    return any(importlib.metadata.distributions(name=name))


if __name__ == "__main__":
    main(*sys.argv[1:])
