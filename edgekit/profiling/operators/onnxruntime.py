"""ONNX Runtime: its own profile of the graph that it made of the file, in a session like the timed one but for that."""

from __future__ import annotations

import collections
import json
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edgekit.inspection.onnx import bits, walk
from edgekit.profiling.measurement import OperatorProfile, OperatorTime
from edgekit.profiling.operators import shapes, timed_runs
from edgekit.profiling.operators.onnx_sources import Source, sources
from edgekit.profiling.operators.shapes import Shape
from edgekit.runtimes import Array

if TYPE_CHECKING:
    from edgekit.runtimes.onnxruntime import OnnxRuntimeSession

_SUFFIX = "_kernel_time"
_BYTES = {"float": 4, "double": 8, "float16": 2, "bfloat16": 2, "int64": 8, "uint64": 8, "int32": 4, "uint32": 4}
"""Of one element, by ONNX Runtime's names of types; the others have one byte."""


def profile(session: OnnxRuntimeSession, arrays: Sequence[Array]) -> OperatorProfile:
    """The nodes of the graph that ONNX Runtime executes; what branches and loops do is part of theirs. A copy that it put in is
    from the module whose value it copies, or that reads it."""
    model = onnx.load(session.model_file)
    feed = {spec.name: array for spec, array in zip(session.inputs, arrays, strict=True)}
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder, "executed.onnx")
        traced = session.fresh(
            _with_names(model, session.model_file, Path(folder)),
            enable_profiling=True,
            profile_file_prefix=str(Path(folder, "trace")),
            optimized_model_filepath=str(executed),
        )
        runs = timed_runs(lambda: traced.run(None, feed))
        events = json.loads(Path(traced.end_profiling()).read_text(encoding="utf-8"))
        graph = onnx.load(executed).graph
    found = sources(model, graph, {name: array.shape for name, array in feed.items()})
    nodes = {node.name: node for node in graph.node}
    nested = {node.name for node in walk(graph)} - set(nodes)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    traces: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            traces[event["name"].removesuffix(_SUFFIX)].append(event)
    return OperatorProfile(
        operators=tuple(
            _operator(name, times[-runs:], nodes.get(name), stored, found.get(name, Source()))
            for name, times in traces.items()
            if name not in nested
        ),
        runs=runs,
    )


def _with_names(model: onnx.ModelProto, model_file: Path, folder: Path) -> Path:
    """The model's file; where nodes have no name, or not one of their own, a copy in `folder` in which they do, as `model` then
    has: the trace knows them by their names alone."""
    nodes = model.graph.node
    if len({node.name for node in nodes} - {""}) == len(nodes):
        return model_file
    for place, node in enumerate(nodes):
        node.name = f"{node.op_type}_{place}"
    onnx.save(model, folder / "named.onnx")
    return folder / "named.onnx"


@dataclass(frozen=True)
class _Tensor:
    shape: Shape
    size_bytes: int


def _operator(
    name: str,
    events: Sequence[dict[str, Any]],
    node: onnx.NodeProto | None,
    stored: Mapping[str, onnx.TensorProto],
    source: Source,
) -> OperatorTime:
    told = events[-1]["args"]
    given, results = _tensors(told["input_type_shape"]), _tensors(told["output_type_shape"])
    operands = None if node is None else _operands(node, given, stored)
    moved = None if operands is None else sum(tensor.size_bytes for tensor in (*operands.values(), *results))
    return OperatorTime(
        name=name,
        operator=told["op_name"],
        time_s=statistics.median(event["dur"] for event in events) / 1e6,
        module=source.module,
        macs=source.macs,
        bytes_moved=moved,
        shapes=shapes.written(
            (tensor.shape for tensor in (given if operands is None else operands.values())), (made.shape for made in results)
        ),
    )


def _tensors(told: Sequence[dict[str, list[int]]]) -> list[_Tensor]:
    """Each is told as its type and its shape."""
    pairs = (pair for tensor in told for pair in tensor.items())
    return [_Tensor(tuple(shape), math.prod(shape) * _BYTES.get(dtype, 1)) for dtype, shape in pairs]


def _operands(
    node: onnx.NodeProto, given: Sequence[_Tensor], stored: Mapping[str, onnx.TensorProto]
) -> dict[str, _Tensor] | None:
    """The operands by name; None when they are not those that were told. Weights that a kernel has packed are not told."""
    told, found = collections.deque(given), {}
    for name in filter(None, node.input):
        if name in stored:
            tensor = stored[name]
            shape = tuple(tensor.dims)
            found[name] = _Tensor(shape, math.ceil(math.prod(shape) * bits(tensor.data_type) / 8))
            if told and told[0].shape == shape:
                told.popleft()
        elif told:
            found[name] = told.popleft()
        else:
            return None
    return None if told else found
