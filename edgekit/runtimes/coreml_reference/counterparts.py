"""Which results of an ML program are which values of the PyTorch graph it was converted from.

coremltools names an operation after the node it converts, but for suffixes (`_cast_fp16`, a number where a name is taken),
and keeps the nodes' order. What it adds, fuses or folds has names of its own. Names, order and shapes decide here, never the
numbers: they are what is to be judged.
"""

from __future__ import annotations

import bisect
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.fx import Graph, Node
from torch.utils._pytree import tree_leaves

from edgekit.runtimes.coreml_reference.package import Function, Operation, Reference

_SAME = ("cast", "expand_dims", "identity", "reshape", "squeeze")
"""Operators of MIL whose result is their operand, element by element."""

_QUANTIZED = ("int8", "uint8")

_SAME_IN_ATEN = tuple(f"aten.{n}" for n in ("_to_copy", "alias", "clone", "flatten", "reshape", "squeeze", "unsqueeze", "view"))
"""Such operators of PyTorch's."""


@dataclass(frozen=True)
class Counterpart:
    """A value of the PyTorch graph: what a node makes, or an item of that."""

    node: Node
    item: int | None = None


def find(function: Function, graph: Graph, output_names: Sequence[str]) -> dict[str, Counterpart]:
    """The counterparts of the function's results, by their names; `output_names` are the graph's outputs, in order.

    Quantized tensors have none: coremltools moves their zero points.
    """
    found = _by_name(function, graph)
    found |= {name: _of(node) for name, node in zip(output_names, tree_leaves(graph.output_node().args), strict=True)}
    _complete(function, found)
    return {name: counterpart for name, counterpart in found.items() if function.results[name].dtype not in _QUANTIZED}


def _of(node: Node) -> Counterpart:
    """The counterpart a node is: of `getitem`, the item."""
    if node.target is operator.getitem:
        made, item = node.args
        assert isinstance(made, Node)
        assert isinstance(item, int)
        return Counterpart(made, item)
    return Counterpart(node, None if isinstance(node.meta.get("val"), Tensor) else 0)


def _by_name(function: Function, graph: Graph) -> dict[str, Counterpart]:
    """The longest selection of results and values of like name and shape that keeps the order of both."""
    results = list(function.results.items())
    places: dict[tuple[str, Any], list[int]] = {}
    for place, (name, declared) in enumerate(results):
        plain = name.replace("_cast_fp16", "")
        for known in {plain, re.sub(r"_\d+$", "", plain)}:
            places.setdefault((known, _sizes(declared.shape)), []).append(place)
    values = list(_values(graph))
    pairs = [
        (index, place)
        for index, (name, counterpart) in enumerate(values)
        for place in places.get((name, _shape(counterpart)), ())
    ]
    return {results[place][0]: values[index][1] for index, place in _ascending(pairs)}


def _values(graph: Graph) -> Iterable[tuple[str, Counterpart]]:
    """Every tensor that the graph computes, in order, with the name that coremltools gives it."""
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        made = node.meta.get("val")
        if isinstance(made, list | tuple):
            yield node.name, Counterpart(node, 0)
            yield from ((f"{node.name}_{item}", Counterpart(node, item)) for item in range(len(made)))
        elif isinstance(made, Tensor):
            yield node.name, _of(node)


def _shape(counterpart: Counterpart) -> tuple[Any, ...] | None:
    made = counterpart.node.meta["val"]
    tensor = made if counterpart.item is None else made[counterpart.item]
    return _sizes(tensor.shape) if isinstance(tensor, Tensor) else None


def _sizes(shape: Iterable[Any]) -> tuple[Any, ...]:
    """A shape without its axes of size one, which converters add and remove."""
    return tuple(size for size in shape if size != 1)


def _ascending(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The most pairs that ascend in both (patience sorting)."""
    ends: list[int] = []
    """Of the chains found so far, one a length, the lowest second of a last pair."""
    lasts: list[int] = []
    before: list[int] = []
    ordered = sorted(pairs, key=lambda pair: (pair[0], -pair[1]))
    for index, (_, place) in enumerate(ordered):
        length = bisect.bisect_left(ends, place)
        before.append(lasts[length - 1] if length else -1)
        ends[length : length + 1], lasts[length : length + 1] = [place], [index]
    chosen, index = [], lasts[-1] if lasts else -1
    while index >= 0:
        chosen.append(ordered[index])
        index = before[index]
    return chosen


def operands(operation: Operation) -> list[str]:
    """The values an operation takes, those of its blocks included."""
    own = [part.name for parts in operation.arguments.values() for part in parts if isinstance(part, Reference)]
    return own + [name for block in operation.blocks for inner in block.walk() for name in operands(inner)]


def nearest(function: Function, found: Mapping[str, Counterpart], name: str) -> Counterpart | None:
    """The counterpart of a result, or of the first that is computed from it and has one."""
    for operation in function.body.operations:
        if name in found:
            break
        if name in operands(operation):
            name = operation.outputs[0][0]
    return found.get(name)


def _complete(function: Function, found: dict[str, Counterpart]) -> None:
    """Add, from the last operation to the first, an operand without a counterpart where only one remains for it."""
    results = function.results
    constants = {name for op in function.body.operations if op.operator == "const" for name, _ in op.outputs}
    taken = set(found.values())
    for operation in reversed(function.body.operations):
        counterpart = found.get(operation.outputs[0][0])
        open_ = {name for name in operands(operation) if name in results and name not in found and name not in constants}
        if counterpart is None or len(open_) != 1:
            continue
        (name,) = open_
        if operation.operator in _SAME and str(counterpart.node.target).rpartition(".")[0] not in _SAME_IN_ATEN:
            found[name] = counterpart
            continue
        inputs = {_of(node) for node in counterpart.node.all_input_nodes if node.op == "call_function"} - taken
        fitting = [source for source in inputs if _shape(source) == _sizes(results[name].shape)]
        if len(inputs) == len(fitting) == 1:
            found[name] = fitting[0]
            taken.add(fitting[0])
