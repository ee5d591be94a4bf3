"""The noise at a model's outputs from each thing that a plan quantizes, all else being in floating point.

What is quantized are weights (and other constants) and tensors. The quantized graph, as `insert` writes it, holds what stands
for each in integers; here one at a time is taken from there, in a run of the graph in floating point. What does not follow
from it is as it was, and is not run again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.fx import Interpreter, Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves

from edgekit import metrics
from edgekit.borders import Tensors
from edgekit.ops.quantization import decomposed
from edgekit.program import Program
from edgekit.quantize import sites
from edgekit.quantize.plan import Plan
from edgekit.quantize.sites import MOVES, operator_of

_Grid = tuple[Any, ...]
"""Scale, zero point, least and largest integer, dtype."""


_Readers = Mapping[Node, Mapping[Node, Node]]
"""By tensor, what reads it, and what that reads instead in the quantized graph."""


@dataclass(frozen=True)
class Source:
    """What is quantized: a tensor, for all that read it as integers, or the constants of one operator."""

    site: str
    """The operator it counts to: of a tensor, the one with integers that makes it, else the first that reads it."""
    tensor: Node | None
    """Of the graph in floating point; None for constants."""
    readers: Mapping[Node, Node]
    """What reads the tensor as integers, and what it reads instead in the quantized graph; of constants, the operator, and what
    it is there."""
    touches: frozenset[str]
    """The operators that must all be left in floating point for it to be so."""
    crosses: bool
    """Whether something in floating point makes it, or reads it."""


@dataclass
class Power:
    """Sums of squares at each output, over samples."""

    signal: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)

    def add(self, outputs: Sequence[Tensor], others: Sequence[Tensor]) -> None:
        """One more sample. What is not finite is noise as strong as the signal a hundred million times."""
        if not self.signal:
            self.signal, self.noise = [0.0] * len(outputs), [0.0] * len(outputs)
        for place, (output, other) in enumerate(zip(outputs, others, strict=True)):
            signal, noise = float(output.double().square().sum()), float((output.double() - other.double()).square().sum())
            self.signal[place] += signal
            self.noise[place] += noise if noise < float("inf") else 1e8 * max(signal, 1.0)

    @property
    def relative(self) -> float:
        """Noise over signal, the mean of all outputs."""
        return sum(self._shares) / max(len(self._shares), 1)

    @property
    def worst(self) -> float:
        """Noise over signal, of the output for which it is largest."""
        return max(self._shares, default=0.0)

    @property
    def _shares(self) -> list[float]:
        return [noise / signal if signal else float(noise > 0) for signal, noise in zip(self.signal, self.noise, strict=True)]


def sqnr_db(relative: float) -> float:
    """Of noise relative to the signal, capped as `metrics.sqnr_db` is."""
    return metrics.decibels(1.0, relative)


class Sources:
    """What a plan quantizes in a program, found by comparing the two graphs."""

    def __init__(self, program: Program, quantized: Program, plan: Plan) -> None:
        self.plain = program.functions["forward"].graph_module
        self.quantized = quantized.functions["forward"].graph_module
        self._nodes = {node.name: node for node in self.plain.graph.nodes}
        self._there = {node.name: node for node in self.quantized.graph.nodes}
        self._order = list(self.plain.graph.nodes)
        self._places = {node: place for place, node in enumerate(self._order)}
        self._sites = {site.node.name for site in sites.find(self.plain)}
        self._static = {one.node for one in plan.sites if one.is_static}
        self._constants: dict[Node, Any] = {}
        self.grids = self._grids()
        self.all = self._found()

    def _found(self) -> list[Source]:
        tensors: dict[Node, dict[Node, Node]] = {}
        constants: dict[Node, Node] = {}
        for there in self.quantized.graph.nodes:
            reader = self._nodes.get(there.name)
            if reader is None or reader.op == "get_attr":
                continue
            for given in there.all_input_nodes:
                leaf = self._leaf(given)
                if leaf is None and given.name not in self._nodes:
                    constants[reader] = there
                elif leaf is not None and given.name != leaf.name:
                    tensors.setdefault(leaf, {})[reader] = given
        moved = {node for node in tensors if node in self.grids and self.grids[node] == self._carried(node)}
        made = [Source(node.name, None, {node: there}, frozenset((node.name,)), False) for node, there in constants.items()]
        return made + [self._of_tensor(node, tensors, moved) for node in tensors if node not in moved]

    def _of_tensor(self, node: Node, tensors: _Readers, moved: set[Node]) -> Source:
        maker, readers = self._maker(node), tensors[node]
        touched = sorted(self._touched(node, tensors, moved), key=lambda name: self._places[self._nodes[name]])
        first = maker or next(iter((*touched, *(reader.name for reader in readers))))
        crosses = maker is None or any(reader.name not in self._static and not _onward(reader, moved) for reader in readers)
        return Source(first, node, readers, frozenset(touched or (first,)), crosses)

    def _touched(self, node: Node, tensors: _Readers, moved: set[Node]) -> set[str]:
        """The operators with integers that make a tensor or read it, as it is or moved."""
        found = {maker} if (maker := self._maker(node)) else set()
        for reader in tensors.get(node, ()):
            found |= {reader.name} & self._static
            for onward in _onward(reader, moved):
                found |= self._touched(onward, tensors, moved)
        return found

    def _leaf(self, node: Node) -> Node | None:
        """What of the graph in floating point an added node is computed from; None where from constants alone."""
        if node.op == "get_attr":
            return None
        known = self._nodes.get(node.name)
        if known is not None:
            return None if known.op == "get_attr" else known
        return next(filter(None, map(self._leaf, node.all_input_nodes)), None)

    def _grids(self) -> dict[Node, _Grid]:
        """Of each tensor whose range was found in calibration."""
        found = {}
        for there in self.quantized.graph.find_nodes(op="call_function", target=decomposed.quantize_per_tensor.default):
            of = self._nodes.get(there.args[0].name)
            if of is not None and of.op != "get_attr":
                found[of] = self._grid(next(iter(there.users)))
        return found

    def _grid(self, there: Node) -> _Grid:
        """That of a pair, by its second half. Where `insert` writes an operator as another, which reads or makes multiples of
        its values, the halves differ: then it is that of the half which is not the operator's."""
        if not _is_pair(there):  # of a constant
            return there.args[1:]
        first = there.all_input_nodes[0]
        source = self._nodes[first.all_input_nodes[0].name]
        rewritten = self._there[source.name].target != source.target
        return (there if rewritten else first).args[1:]

    def _carried(self, node: Node) -> _Grid | None:
        """The grid on which the values of a node lie as it makes them, because it moves what lies there."""
        if operator_of(node) not in MOVES and operator_of(node) != "cat":
            return None
        operands = zip(node.all_input_nodes, self._there[node.name].all_input_nodes, strict=True)
        found = {
            self._carried(operand) if given.name == operand.name else self._grid(given)
            for operand, given in operands
            if sites.is_floating_point(operand)
        }
        return found.pop() if len(found) == 1 else None

    def _maker(self, node: Node) -> str | None:
        """The operator with integers that makes a tensor: itself, or the one that its activation function is computed with."""
        if node.name in self._static:
            return node.name
        before = node.all_input_nodes[0] if len(node.all_input_nodes) == 1 else None
        fused = before is not None and node.name in self._sites and before not in self.grids and len(before.users) == 1
        return before.name if fused and before is not None and before.name in self._static else None

    def value(self, node: Node, given: Mapping[Node, Any]) -> Any:
        """What a node of the quantized graph makes of what the graph in floating point made. Constants are made once."""
        known = self._nodes.get(node.name)
        if known is not None and known.op != "get_attr":
            return given[known]
        if node in self._constants:
            return self._constants[node]
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.quantized)
        if _is_pair(node):
            whole, grid = self.value(node.all_input_nodes[0].all_input_nodes[0], given), self._grid(node)
            return decomposed.dequantize_per_tensor(decomposed.quantize_per_tensor(whole, *grid), *grid)
        args, kwargs = map_arg((node.args, node.kwargs), lambda operand: self.value(operand, given))
        made = node.target(*args, **kwargs)  # type: ignore[operator]  # it is a call_function
        if self._leaf(node) is None:
            self._constants[node] = made
        return made

    def stored_sqnr_db(self, source: Source) -> float | None:
        """Of an operator's weight, or other constant, as it is stored, against what it was; None where none is."""
        for reader, there in source.readers.items():
            for before, given in zip(reader.args, there.args, strict=False):
                if _is_constant(before) and isinstance(given, Node) and given.name not in self._nodes:
                    was, stored = operator.attrgetter(str(before.target))(self.plain), self.value(given, {})
                    return metrics.sqnr_db(was.numpy(force=True), stored.numpy(force=True))
        return None

    def measure(self, samples: Sequence[Tensors]) -> list[Power]:
        """The noise that each of `all` makes alone, over these samples."""
        powers = [Power() for _ in self.all]
        with torch.no_grad():
            for sample in samples:
                run = Interpreter(self.plain, garbage_collect_values=False)
                run.run(*sample.values())
                values: dict[Node, Any] = run.env
                outputs = _outputs(self._order[-1], values.__getitem__)
                for source, power in zip(self.all, powers, strict=True):
                    power.add(outputs, self._alone(source, values))
        return powers

    def _alone(self, source: Source, values: Mapping[Node, Any]) -> list[Tensor]:
        """The outputs where this one alone is quantized."""
        first = min(source.readers, key=self._places.__getitem__)
        changed: dict[Node, Any] = {}
        if source.tensor is None:
            changed[first] = self._with_constants(source.readers[first], values)
        for node in self._order[self._places[first] :]:
            reads = source.tensor is not None and node in source.readers
            instead = {source.tensor: self.value(source.readers[node], values)} if reads else {}
            if node in changed or not (instead or any(operand in changed for operand in node.all_input_nodes)):
                continue

            seen = partial(_first_of, (instead, changed, values))
            if node.op == "output":
                return _outputs(node, seen)
            args, kwargs = map_arg((node.args, node.kwargs), seen)
            changed[node] = node.target(*args, **kwargs)
        return _outputs(self._order[-1], values.__getitem__)

    def _with_constants(self, there: Node, values: Mapping[Node, Any]) -> Any:
        """What an operator of the quantized graph makes of its own constants and of tensors in floating point."""

        def seen(operand: Node) -> Any:
            leaf = self._leaf(operand)
            return self.value(operand, values) if leaf is None else values[leaf]

        args, kwargs = map_arg((there.args, there.kwargs), seen)
        return there.target(*args, **kwargs)  # type: ignore[operator]  # it is a call_function


def _first_of(given: Sequence[Mapping[Any, Any]], operand: Node) -> Any:
    """What the first that has it gives for an operand."""
    return next(values[operand] for values in given if operand in values)


def _is_constant(given: object) -> TypeGuard[Node]:
    return isinstance(given, Node) and given.op == "get_attr"


def _is_pair(node: Node) -> bool:
    """Whether it is the second half of a pair."""
    second = node.target == decomposed.dequantize_per_tensor.default
    return second and node.all_input_nodes[0].target == decomposed.quantize_per_tensor.default


def _onward(reader: Node, moved: set[Node]) -> list[Node]:
    """What a node that moves integers makes of them: itself, or of several results each."""
    return [node for node in (reader, *reader.users) if node in moved and (node is reader or operator_of(node) == "getitem")]


def _outputs(node: Node, value: Callable[[Node], Any]) -> list[Tensor]:
    """The floating-point outputs of a graph, which are those of its `output` node."""
    made = [value(operand) for operand in tree_leaves(node.args) if isinstance(operand, Node)]
    return [tensor for tensor in made if tensor.is_floating_point()]


def pooled(powers: Sequence[Power]) -> Power:
    """All samples as one."""
    columns = [list(zip(*parts, strict=True)) for parts in ([one.signal for one in powers], [one.noise for one in powers])]
    signal, noise = ([sum(output) for output in column] for column in columns)
    return Power(signal, noise)


def noisiest(powers: Sequence[Power], count: int) -> list[int]:
    """The places of those samples, at most `count`, that hold the most of the noise of all, the noisiest first."""
    signal = pooled(powers).signal
    shares = [sum(noise / whole for noise, whole in zip(power.noise, signal, strict=True) if whole) for power in powers]
    return sorted(range(len(powers)), key=lambda place: -shares[place])[:count]


def of_program(program: Program, quantized: Program, samples: Sequence[Tensors]) -> list[Power]:
    """The noise of the whole quantized program, sample by sample."""
    return [between(outputs_of(program, sample), outputs_of(quantized, sample)) for sample in samples]


def outputs_of(program: Program, sample: Tensors) -> list[Tensor]:
    """Its floating-point outputs."""
    return [tensor for tensor in program.functions["forward"].run(sample).values() if tensor.is_floating_point()]


def between(outputs: Sequence[Tensor], others: Sequence[Tensor]) -> Power:
    """The noise of the others."""
    found = Power()
    found.add(outputs, others)
    return found
