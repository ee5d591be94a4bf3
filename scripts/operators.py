"""Where the time goes, by operator and shapes: edgekit's artifacts in ONNX Runtime, by its modules too, and the same modules in
OpenVINO where it is installed."""

from __future__ import annotations

import importlib.metadata
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rival

import edgekit
from edgekit import cache, devices
from edgekit.devices.link.tape import Live
from edgekit.profiling import machine, operators
from edgekit.profiling.measurement import OperatorProfile, OperatorTime
from edgekit.profiling.operators import Group, grouped, shapes
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import describe

REPORT = Path(__file__).parent.parent / "reports" / "where_time_goes.md"
RIVAL = "OpenVINO"
MODELS = ("lsnet_t", "spartan_s", "casvit_xs", "affnet_et")
_WARM_UP, _RUNS, _SHOWN = 10, 40, 25

Shape = tuple[int, ...]


def openvino_profile(model: Path) -> OperatorProfile:
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
    kinds = {told.node_name: told.node_type for told in request.get_profiling_info()}
    nodes = [node for node in compiled.get_runtime_model().get_ordered_ops() if any(times.get(node.get_friendly_name(), ()))]
    found = []
    for node in nodes:
        name = node.get_friendly_name()
        operands = [tuple(operand.get_shape()) for operand in node.inputs()]
        result = tuple(node.outputs()[0].get_shape())
        found.append(
            OperatorTime(
                name=name,
                operator=kinds[name],
                time_s=statistics.median(times[name][_WARM_UP:]),
                macs=openvino_macs(kinds[name], operands, result),
                shapes=shapes.written(operands, [result]),
            )
        )
    return OperatorProfile(tuple(found), runs=_RUNS)


def openvino_macs(operator: str, operands: Sequence[Shape], result: Shape) -> int:
    """Multiply-adds of a node as OpenVINO names it; 0 for one that is no sum of products."""
    if operator == "Convolution":
        return shapes.convolution(operands[1], result)
    if operator == "GroupConvolution":  # its weight has an axis of groups before the others
        return shapes.convolution(operands[1][1:], result)
    if operator in ("MatMul", "FullyConnected") and len(operands) > 1:
        # Transposed in any way, so by the numbers of elements: b m k times b k n over b m n is b k^2.
        left, right, made = math.prod(operands[0]), math.prod(operands[1]), math.prod(result)
        batch = math.prod(result[:-2]) if len(operands[1]) > 2 else 1
        return shapes.product(math.isqrt(left * right // (made * batch)), result)
    return 0


def section(name: str, profile: OperatorProfile) -> list[str]:
    """A model's part of the report."""
    groups, kinds = grouped(profile, "shapes"), grouped(profile, "operator")
    total_s = sum(group.time_s for group in groups)
    shares = (f"{group.name} {group.share:.0%}" for group in kinds[:8])
    lines = [
        f"\n## {name}\n",
        f"{1e3 * total_s:.2f} ms in {len(profile.operators)} nodes, {sum(o.macs or 0 for o in profile.operators) / 1e9:.3f} G "
        f"multiply-adds: {', '.join(shares)}.\n",
        "| operator | nodes | operands -> result | ms | share | M multiply-adds | G a second |",
        "|---|---|---|---|---|---|---|",
    ]
    for group in groups[:_SHOWN]:
        operator, _, written = (group.name or "").partition(" ")
        cells = [operator, str(group.calls), written, *_figures(group)]
        lines.append(f"| {' | '.join(cells)} |")
    rest = groups[_SHOWN:]
    left_s = sum(group.time_s for group in rest)
    lines.append(
        f"| {len(rest)} groups more | {sum(g.calls for g in rest)} | | {1e3 * left_s:.3f} | {left_s / total_s:.1%} | | |"
    )
    return lines


def by_module(profile: OperatorProfile) -> list[str]:
    """The time by the model's outermost modules."""
    lines = ["", "| module | nodes | ms | share | M multiply-adds | G a second |", "|---|---|---|---|---|---|"]
    for group in grouped(profile, "module", depth=1):
        name = "unknown" if group.name is None else group.name or "the model's own forward"
        lines.append(f"| {' | '.join([name, str(group.calls), *_figures(group)])} |")
    return lines


def _figures(group: Group) -> list[str]:
    work = (f"{group.macs / 1e6:.1f}", f"{group.macs / group.time_s / 1e9:.0f}") if group.macs else ("", "")
    return [f"{1e3 * group.time_s:.3f}", f"{group.share:.1%}", *work]


def sections(name: str, folder: Path) -> list[str]:
    """Both runtimes' parts of the report, or why OpenVINO has none."""
    made = edgekit.export(name, "onnx", output=folder)
    with devices.connect("host", Live()) as host:
        ours = operators.measure(host, describe(made.directory), Settings(), None)
    lines = section(f"{name}, edgekit's artifact in ONNX Runtime", ours) + by_module(ours)
    [other] = [found for found in rival.find() if found.title == RIVAL]
    theirs = rival.make(other, made, cache.folder() / "rivals")
    title = f"{name}, the module in {RIVAL}"
    if theirs.failure:
        return [*lines, f"\n## {title}\n\n{theirs.failure}"]
    return lines + section(title, openvino_profile(Path(theirs.subject.partition(":")[2], "model.xml")))


def main(*models: str) -> None:
    """Export and profile each model, and write the report."""
    machine.pin([machine.fastest_core() or 0])
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
