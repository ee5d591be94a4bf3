"""Writes a plan into a graph: integers in place of weights, and quantize/dequantize pairs around what computes with integers.

The pairs are PyTorch's own (`quantized_decomposed`), which PyTorch executes, and which every target's converter reads. Between
a pair lies a tensor of integers; a runtime that finds an operator with pairs on all sides computes it with integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch.ao.quantization.fx import _decomposed  # noqa: F401  it registers the operators
from torch.fx import GraphModule, Node

from edgekit.passes._graph import add_call, only_user, sweep
from edgekit.profiles import IntegerSupport
from edgekit.quantize import sites, weights
from edgekit.quantize.plan import Assignment
from edgekit.quantize.ranges import Range
from edgekit.quantize.sites import MOVES, Site, is_floating_point, operator_of

decomposed = torch.ops.quantized_decomposed

_STATIC = {"uint8": (torch.uint8, 0, 255), "int8": (torch.int8, -128, 127)}
"""Dtype, least and largest integer of an activation."""
LEVELS = 256
"""Of an activation."""


@dataclass(frozen=True)
class Grid:
    """The integers that stand for a tensor: `value = scale * (integer - zero_point)`."""

    scale: float
    zero_point: int
    least: int
    largest: int
    dtype: torch.dtype

    @classmethod
    def over(cls, covered: Range, form: str) -> Grid:
        """The grid of an activation format over a range."""
        dtype, least, largest = _STATIC[form]
        whole = covered.with_zero()
        scale = (whole.high - whole.low) / (largest - least) or 1.0
        zero_point = min(max(round(least - whole.low / scale), least), largest)
        return cls(scale, zero_point, least, largest, dtype)

    @property
    def arguments(self) -> tuple[float, int, int, int, torch.dtype]:
        """As both operators of a pair take them."""
        return self.scale, self.zero_point, self.least, self.largest, self.dtype


class Crossings:
    """Which tensors of a graph become integers, by a plan, and which of them share a grid.

    Every tensor that an integer operator reads or makes is one, and what only moves values between such operators: its result
    lies on its operand's grid, as do all operands of a concatenation.
    """

    def __init__(self, found: Iterable[Site], chosen: Mapping[Node, Assignment], support: IntegerSupport) -> None:
        self._support = support
        self._parents: dict[Node, Node] = {}
        self.formats: dict[Node, str] = {}
        """What each tensor becomes."""
        self.readers: set[Node] = set()
        """The operators that compute with integers, or hand them on."""
        self.made: set[Node] = set()
        """The tensors that such an operator makes: everything reads them as integers."""
        for site in found:
            form = chosen[site.node].activation
            if form in _STATIC:
                self._take(site, str(form))
        self._move()

    def _take(self, site: Site, form: str) -> None:
        result = self._result(site.node)
        self.readers.add(site.node)
        self.made.add(result)
        for node in (*site.activations, result):
            self.formats[node] = form
        if site.operator == "cat":
            for node in site.activations:
                self._join(node, result)

    def _result(self, node: Node) -> Node:
        """What the runtime makes of a site: with the activation behind it, where it computes both at once."""
        user = only_user(node)
        if user is not None and operator_of(user) in self._support.fused:
            self.readers.add(user)
            return user
        return node

    def _move(self) -> None:
        """Follow integers through operators that move values, towards another that reads integers."""
        changed = True
        while changed:
            changed = False
            for node in list(self.formats):
                for user in node.users:
                    if user not in self.formats and self._is_moved(user):
                        self.formats[user] = self.formats[node]
                        self._join(user, node)
                        self.readers.add(user)
                        self.made.add(user)
                        changed = True

    def _is_moved(self, node: Node) -> bool:
        name = operator_of(node)
        return name in MOVES and name in self._support.moves and is_floating_point(node) and self._leads_to_integers(node)

    def _leads_to_integers(self, node: Node) -> bool:
        return any(
            user in self.readers or (operator_of(user) in self._support.moves and self._leads_to_integers(user))
            for user in node.users
        )

    def _join(self, node: Node, other: Node) -> None:
        self._parents[self.group(node)] = self.group(other)

    def group(self, node: Node) -> Node:
        """What stands for all tensors on one grid."""
        while node in self._parents:
            node = self._parents[node]
        return node

    def grids(self, ranges: Mapping[Node, Range]) -> dict[Node, Grid]:
        """The grid of each tensor, over the ranges of all that share it."""
        covered: dict[Node, Range] = {}
        for node in self.formats:
            head = self.group(node)
            covered[head] = ranges[node] | covered.get(head, ranges[node])
        return {node: Grid.over(covered[self.group(node)], form) for node, form in self.formats.items()}


def crossings(graph_module: GraphModule, plan: Mapping[str, Assignment], support: IntegerSupport) -> Crossings:
    """The crossings of a plan, whose assignments go by their nodes' names."""
    found = sites.find(graph_module)
    return Crossings(found, {site.node: plan[site.node.name] for site in found}, support)


def write(
    graph_module: GraphModule, plan: Mapping[str, Assignment], support: IntegerSupport, ranges: Mapping[str, Range]
) -> None:
    """Rewrite the graph in place. Assignments and the ranges of what becomes integers go by their nodes' names."""
    found, within = sites.find(graph_module), crossings(graph_module, plan, support)
    for site in found:
        form = plan[site.node.name].weight
        if form is not None and site.weight is not None:
            site.node.replace_input_with(site.weight.node, weights.stored(graph_module, site.node, site.weight, form))
    for node, grid in within.grids({node: ranges[node.name] for node in within.formats}).items():
        _cross(node, grid, within)
    sweep(graph_module)
    graph_module.recompile()


def _cross(node: Node, grid: Grid, crossings: Crossings) -> None:
    """Let readers of integers take `node` through a pair; everybody, where an integer operator makes it. A pair for each: a
    runtime takes the second half of it into the operator that reads it."""
    users = [user for user in node.users if node in crossings.made or user in crossings.readers]
    if not users:
        return
    before = node.next
    quantized = add_call(before, decomposed.quantize_per_tensor.default, node, *grid.arguments)
    for user in users:
        dequantized = add_call(user, decomposed.dequantize_per_tensor.default, quantized, *grid.arguments)
        user.replace_input_with(node, dequantized)
