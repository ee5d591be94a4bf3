"""Where the time goes in ONNX artifacts: ONNX Runtime's own profile by operator and shapes, beside the multiply-adds."""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import edgekit
from edgekit.profiling import machine

REPORT = Path(__file__).parent.parent / "reports" / "where_time_goes.md"
MODELS = ("lsnet_t", "spartan_s", "casvit_xs", "affnet_et")
_WARM_UP, _RUNS, _SHOWN = 10, 40, 25


@dataclass
class Group:
    """The nodes of one operator with the same shapes, in the graph that ONNX Runtime made of the artifact."""

    operator: str
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    nodes: int = 0
    time_s: float = 0.0

    @property
    def macs(self) -> int:
        """Multiply-adds of all its nodes; 0 for operators that are no sums of products."""
        if self.operator == "Conv":
            return self.nodes * math.prod(self.output) * math.prod(self.inputs[1][1:])
        if self.operator in ("MatMul", "FusedMatMul", "Gemm"):
            # Transposed in any way, so by the numbers of elements: b m k times b k n over b m n is b k^2.
            left, right, made = math.prod(self.inputs[0]), math.prod(self.inputs[1]), math.prod(self.output)
            batch = math.prod(self.output[:-2]) if len(self.inputs[1]) > 2 else 1
            return self.nodes * made * math.isqrt(left * right // (made * batch))
        return 0


def profiled(model: Path) -> list[Group]:
    """The groups of a model's nodes by time, the longest first, a node's time being the median over its runs."""
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
        events = json.loads(Path(session.end_profiling()).read_text())
    return grouped(events)


def grouped(events: list[dict[str, Any]]) -> list[Group]:
    """The groups in a profile's events, the longest first."""
    times: dict[str, list[float]] = defaultdict(list)
    nodes: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"]].append(event["dur"] / 1e6)
            nodes[event["name"]] = event["args"]
    groups: dict[tuple[object, ...], Group] = {}
    for name, runs in times.items():
        inputs, outputs = (_shapes(nodes[name][key]) for key in ("input_type_shape", "output_type_shape"))
        key = (nodes[name]["op_name"], inputs, outputs[0])
        group = groups.setdefault(key, Group(*key))
        group.nodes += 1
        group.time_s += statistics.median(runs[_WARM_UP:] or runs)
    return sorted(groups.values(), key=lambda group: -group.time_s)


def _shapes(described: list[dict[str, list[int]]]) -> tuple[tuple[int, ...], ...]:
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


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"


def main(*models: str) -> None:
    """Export and profile each model, and write the report."""
    machine.pin(machine.fastest_core() or 0)
    lines = [
        "# Where the time goes",
        "",
        f"Made by `{' '.join(['scripts/operators', *models])}` on {machine.cpu()}, ONNX Runtime {onnxruntime.__version__}, "
        "fp32, one thread: its own profile of the graph it made of edgekit's artifact, medians a node. Profiling adds about a "
        "microsecond a node.",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name in models or MODELS:
            made = edgekit.export(name, "onnx", output=Path(folder, name))
            lines += section(name, profiled(made.directory / "model.onnx"))
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
