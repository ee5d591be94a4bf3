"""What the nodes of the graph that ONNX Runtime executes stand for in the file: their modules and their multiply-adds.

ONNX Runtime fuses nodes, names what it makes after a node or a value of the file (`relu_3_nchwc`, `add_2/FusedGelu`), and puts
in nodes of its own. A node stands for what in the file leads to its value and has been claimed by no node before it.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from edgekit.profiling.operators import shapes
from edgekit.profiling.operators.shapes import Shape
from edgekit.targets.onnx import NAME_SCOPES

_WEIGHTS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Convolutions, and which of their operands is the weight."""
_PRODUCTS = ("MatMul", "MatMulInteger", "QLinearMatMul", "Gemm")
_UNCOUNTED = ("Attention", "DeformConv", "DFT", "Einsum", "GRU", "If", "Loop", "LSTM", "RNN", "Scan", "STFT")
"""Operators whose multiply-adds are not told by a formula here; nor are those of operators outside ONNX's own set."""
_FUSION = re.compile(r"/\w+/?$")
"""What a fusion adds to a name."""


@dataclass(frozen=True)
class Source:
    """What a node stands for; None is unknown."""

    module: str | None = None
    macs: int | None = None


def sources(model: onnx.ModelProto, executed: onnx.GraphProto, inputs: Mapping[str, Sequence[int]]) -> dict[str, Source]:
    """The source of each node of `executed`, by its name, for inputs of these shapes."""
    return _Sources(model, inputs).of(executed)


class _Sources:
    def __init__(self, model: onnx.ModelProto, inputs: Mapping[str, Sequence[int]]) -> None:
        self._shapes = _inferred(model, inputs)
        self._makers = {name: node for node in model.graph.node for name in node.output if name}
        self._nodes = {node.name: node for node in model.graph.node if node.name}
        self._claimed: set[str] = set()

    def of(self, executed: onnx.GraphProto) -> dict[str, Source]:
        origins = {node.name: self._origin(node) for node in executed.node}
        kept = {name for origin in origins.values() if origin is not None for name in origin.output}
        strange = {name for node in executed.node if not (origins[node.name] or _was_put_in(node)) for name in node.output}
        found = {node.name: self._source(node, origins[node.name], kept, strange) for node in executed.node}
        readers: dict[str, list[str]] = {}
        for node in executed.node:
            for name in node.input:
                readers.setdefault(name, []).append(node.name)
        for node in reversed(executed.node):  # a reader may be another one that was put in
            if origins[node.name] is None:
                modules = [found[reader].module for name in node.output for reader in readers.get(name, ())]
                found[node.name] = Source(_holding(modules), 0 if _was_put_in(node) else None)
        return found

    def _origin(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The node of the file whose value this one has; None for one that was put in."""
        for name in (*node.output, node.name, node.name.removesuffix("_nchwc"), _FUSION.sub("", node.name)):
            found: onnx.NodeProto | None = self._makers.get(name) or self._nodes.get(name)
            if found is not None:
                return found
        return None

    def _source(self, node: onnx.NodeProto, origin: onnx.NodeProto | None, kept: set[str], strange: set[str]) -> Source:
        if origin is None:
            return Source()
        if _was_put_in(node):
            return Source(_module(origin), 0)
        parts = list(self._claim(origin, kept))
        counted = [(self._macs(part), part) for part in parts]
        macs = [count for count, _ in counted if count is not None]
        most = max(counted, key=lambda pair: pair[0] or 0, default=(0, origin))
        heaviest = most[1] if most[0] else origin
        if strange.intersection(node.input):  # some of the parts may be those of the node that made it
            return Source(_module(origin), None)
        return Source(_module(heaviest), sum(macs) if len(macs) == len(counted) else None)

    def _claim(self, node: onnx.NodeProto, kept: set[str]) -> Iterator[onnx.NodeProto]:
        """The node, and before it what no other node's value is; what was claimed before is left out."""
        waiting = [node]
        while waiting:
            part = waiting.pop()
            if part.output[0] in self._claimed:
                continue
            self._claimed.add(part.output[0])
            yield part
            waiting += [self._makers[name] for name in part.input if name in self._makers and name not in kept]

    def _macs(self, node: onnx.NodeProto) -> int | None:
        """Multiply-adds of a node of the file; 0 for one that is no sum of products, None where that is unknown."""
        if node.domain not in ("", "ai.onnx") or node.op_type in _UNCOUNTED:
            return None
        if node.op_type not in _WEIGHTS and node.op_type not in _PRODUCTS:
            return 0
        left, result = self._shapes.get(node.input[0]), self._shapes.get(node.output[0])
        weight = self._shapes.get(node.input[_WEIGHTS.get(node.op_type, 0)])
        if left is None or result is None or weight is None:
            return None
        if node.op_type == "ConvTranspose":
            return shapes.transposed_convolution(left, weight)
        if node.op_type in _WEIGHTS:
            return shapes.convolution(weight, result)
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return shapes.product(left[0] if transposed else left[-1], result)


def _was_put_in(node: onnx.NodeProto) -> bool:
    """Whether ONNX Runtime put the node in to copy a value into another layout or type."""
    return node.op_type in ("ReorderInput", "ReorderOutput", "Cast", "Transpose", "MemcpyFromHost", "MemcpyToHost")


def _module(node: onnx.NodeProto) -> str | None:
    """The module a node of the file is from, as PyTorch's exporter wrote beside it, or its older one into the name."""
    for note in node.metadata_props:
        if note.key == NAME_SCOPES:
            try:
                *modules, _ = ast.literal_eval(note.value)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                return None  # the file may be anybody's
            return str(modules[-1]) if modules else None
    return _module_in(node.name) if node.name.startswith("/") else None


def _module_in(name: str) -> str:
    """`blocks.0.conv` of `/blocks/blocks.0/conv/Conv`: containers stand there twice."""
    parts: list[str] = []
    for part in name.split("/")[1:-1]:
        repeats = parts and part.startswith(f"{parts[-1]}.")
        parts[len(parts) - bool(repeats) :] = [part]
    return ".".join(parts)


def _holding(modules: Sequence[str | None]) -> str | None:
    """The innermost module that holds all of these; None when one is unknown."""
    paths = [module.split(".") for module in modules if module is not None]
    if not paths or len(paths) < len(modules):
        return None
    return ".".join(parts[0] for parts in itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False)))


def _inferred(model: onnx.ModelProto, inputs: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    """The shapes of all values, as far as they follow from those of the inputs."""
    found = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    del model.graph.value_info[:]
    for value in model.graph.input:
        if value.name in inputs:
            for size, given in zip(value.type.tensor_type.shape.dim, inputs[value.name], strict=True):
                size.dim_value = given
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(size.HasField("dim_value") for size in sizes):
            found[value.name] = tuple(size.dim_value for size in sizes)
    return found
