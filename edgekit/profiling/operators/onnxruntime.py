"""ONNX Runtime: its own profile of the graph that it made of the file, in a session like the timed one but for that."""

from __future__ import annotations

import base64
import collections
import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edgekit import scratch
from edgekit.inspection.onnx import bits, walk
from edgekit.profiling import traces
from edgekit.profiling.measurement import OperatorProfile, OperatorTime
from edgekit.profiling.operators import shapes
from edgekit.profiling.operators.onnx_sources import Source, sources
from edgekit.profiling.operators.shapes import Shape
from edgekit.runtimes import Array

if TYPE_CHECKING:
    from edgekit.runtimes.onnxruntime import OnnxRuntimeSession

_BYTES = {"float": 4, "double": 8, "float16": 2, "bfloat16": 2, "int64": 8, "uint64": 8, "int32": 4, "uint32": 4}
"""Of one element, by ONNX Runtime's names of types; the others have one byte."""


def profile(session: OnnxRuntimeSession, arrays: Sequence[Array]) -> OperatorProfile:
    """The nodes of the graph that ONNX Runtime executes; what branches and loops do is part of theirs. A copy that it put in is
    from the module whose value it copies, or that reads it."""
    with named(session.model_file) as model_file:
        return read(model_file, traces.of_nodes(session, model_file, arrays))


@contextlib.contextmanager
def named(model_file: Path) -> Iterator[Path]:
    """The file; where its nodes have no name, or not one of their own, a copy in which they do, as long as it is asked for: a
    trace knows them by their names alone."""
    nodes = onnx.load(model_file, load_external_data=False).graph.node
    if len({node.name for node in nodes} - {""}) == len(nodes):
        yield model_file
        return
    model = onnx.load(model_file)
    for place, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{place}"
    with scratch.folder() as folder:
        onnx.save(model, folder / model_file.name)
        yield folder / model_file.name


def read(model_file: Path, trace: Mapping[str, Any]) -> OperatorProfile:
    """The operators in a trace of a file (`traces.of_nodes`), made here or on another machine."""
    model = onnx.load(model_file)
    graph = onnx.load_model_from_string(base64.b64decode(trace["graph"])).graph
    found = sources(model, graph, trace["shapes"])
    nodes = {node.name: node for node in graph.node}
    nested = {node.name for node in walk(graph)} - set(nodes)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    return OperatorProfile(
        operators=tuple(
            _operator(name, told, nodes.get(name), stored, found.get(name, Source()))
            for name, told in trace["nodes"].items()
            if name not in nested
        ),
        runs=trace["runs"],
    )


@dataclass(frozen=True)
class _Tensor:
    shape: Shape
    size_bytes: int


def _operator(
    name: str,
    told: Mapping[str, Any],
    node: onnx.NodeProto | None,
    stored: Mapping[str, onnx.TensorProto],
    source: Source,
) -> OperatorTime:
    given, results = _tensors(told["given"]), _tensors(told["gave"])
    operands = None if node is None else _operands(node, given, stored)
    moved = None if operands is None else sum(tensor.size_bytes for tensor in (*operands.values(), *results))
    return OperatorTime(
        name=name,
        operator=told["operator"],
        time_s=told["time_s"],
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
