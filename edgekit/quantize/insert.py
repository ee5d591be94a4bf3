"""Writes a plan into a graph: integers in place of weights, and quantize/dequantize pairs around what computes with integers.

The pairs are PyTorch's own (`quantized_decomposed`), which PyTorch executes, and which every target's converter reads. Between
a pair lies a tensor of integers; a runtime that finds an operator with pairs on all sides computes it with integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.ops.quantization import decomposed
from edgekit.passes._graph import add_call, add_constant, aten, constant, only_user, sweep
from edgekit.profiles import IntegerSupport
from edgekit.quantize import bias, dynamic, gelu, sites, weights
from edgekit.quantize.plan import Assignment, WeightFormat
from edgekit.quantize.ranges import Histogram, Range
from edgekit.quantize.sites import Site, is_floating_point, moves, operator_of

_STATIC = {"uint8": (torch.uint8, 0, 255), "int8": (torch.int8, -128, 127)}
"""Dtype, least and largest integer of an activation."""
LEVELS = 256
"""Of an activation."""

FUSING = frozenset(("conv1d", "conv2d", "conv3d", "linear", "matmul", "mm", "bmm", "add", "sub", "mul"))
"""Operators that runtimes compute together with an activation behind them."""


@dataclass(frozen=True)
class Grid:
    """The integers that stand for a tensor: `value = scale * (integer - zero_point)`."""

    scale: float
    zero_point: int
    least: int
    largest: int
    dtype: torch.dtype

    @classmethod
    def over(cls, covered: Range, form: str, support: IntegerSupport) -> Grid:
        """The grid of an activation format over a range, as the runtime keeps its scale."""
        dtype, least, largest = _STATIC[form]
        whole = covered.with_zero()
        scale = float(weights.kept(torch.tensor((whole.high - whole.low) / (largest - least)), support))
        zero_point = min(max(round(least - whole.low / scale), least), largest)
        return cls(scale, zero_point, least, largest, dtype)

    def times(self, factor: float) -> Grid:
        """The grid of the same integers for values `factor` times as large."""
        return replace(self, scale=self.scale * factor)

    @property
    def arguments(self) -> tuple[float, int, int, int, torch.dtype]:
        """As both operators of a pair take them."""
        return self.scale, self.zero_point, self.least, self.largest, self.dtype


class Crossings:
    """Which tensors of a graph become integers, by a plan, and which of them share a grid.

    Every tensor that an integer operator reads or makes is one, and what only moves values between such operators: its result
    lies on its operand's grid, as do all operands of a concatenation.
    """

    def __init__(self, graph_module: GraphModule, chosen: Mapping[Node, Assignment], support: IntegerSupport) -> None:
        self._graph_module = graph_module
        self._support = support
        self._parents: dict[Node, Node] = {}
        self._moved: set[Node] = set()
        self.formats: dict[Node, str] = {}
        """What each tensor becomes."""
        self.readers: set[Node] = set()
        """The operators that compute with integers, or hand them on."""
        self.made: set[Node] = set()
        """The tensors that such an operator makes: everything reads them as integers."""
        self.fused: dict[Node, Node] = {}
        """The activations that the runtime computes together with the operator before them: that operator."""
        for site in sites.find(graph_module):
            if chosen[site.node].is_static and site.node not in self.fused:
                self._take(site, str(chosen[site.node].activation))
        self._move()

    @property
    def observed(self) -> list[Node]:
        """The tensors whose ranges tell every grid. The others are constants, or moved: their values are another's."""
        return [node for node in self.formats if node not in self._moved and constant(self._graph_module, node) is None]

    def _take(self, site: Site, form: str) -> None:
        result = self._taken(site)
        self.readers.add(site.node)
        self.made.add(result)
        for node in (*site.activations, result):
            self.formats[node] = form
        if site.operator == "cat":
            for node in site.activations:
                self._join(node, result)

    def result(self, site: Site) -> Node:
        """What the runtime makes of a site: with the activation behind it, where it computes both at once."""
        return next((user for user, before in self.fused.items() if before is site.node), site.node)

    def _taken(self, site: Site) -> Node:
        """Take the activation behind a site with it, where the runtime computes both at once; what it makes then."""
        user = only_user(site.node)
        if site.operator not in FUSING or user is None or operator_of(user) not in self._support.fused:
            return site.node
        self.readers.add(user)
        self.fused[user] = site.node
        return user

    def _move(self) -> None:
        """Let integers through operators that move values, on the way to one that reads integers."""
        graph = self._graph_module.graph
        towards: set[Node] = set()
        for node in reversed(graph.nodes):
            if self._can_move(node) and any(user in self.readers or user in towards for user in node.users):
                towards.add(node)
        for node in graph.nodes:
            source = node.args[0] if node in towards else None
            if not isinstance(source, Node) or source not in self.formats:
                continue
            self.readers.add(node)
            for made in [node] if isinstance(node.meta["val"], Tensor) else list(node.users):
                self.formats[made] = self.formats[source]
                self.made.add(made)
                self._moved.add(made)
                self._join(made, source)

    def _can_move(self, node: Node) -> bool:
        if node.op != "call_function" or not is_floating_point(node):
            return False
        return operator_of(node) == "getitem" or (moves(node) and operator_of(node) in self._support.moves)

    def _join(self, node: Node, other: Node) -> None:
        first, second = self._group(node), self._group(other)
        if first is not second:
            self._parents[first] = second

    def _group(self, node: Node) -> Node:
        """What stands for all tensors on one grid."""
        while node in self._parents:
            node = self._parents[node]
        return node

    def grids(self, ranges: Mapping[Node, Range]) -> dict[Node, Grid]:
        """The grid of each tensor, over the ranges of all those `observed` that share it."""
        covered: dict[Node, Range] = {}
        for node in self.formats:
            if node not in self._moved:
                values = constant(self._graph_module, node)
                own = ranges[node] if values is None else Range(*(float(end) for end in values.aminmax()))
                head = self._group(node)
                covered[head] = own | covered.get(head, own)
        return {node: Grid.over(covered[self._group(node)], form, self._support) for node, form in self.formats.items()}


def crossings(graph_module: GraphModule, plan: Mapping[str, Assignment], support: IntegerSupport) -> Crossings:
    """The crossings of a plan, whose assignments go by their nodes' names."""
    chosen = {site.node: plan[site.node.name] for site in sites.find(graph_module)}
    return Crossings(graph_module, chosen, support)


@dataclass(frozen=True)
class Calibrated:
    """What calibration tells of tensors of a graph, by their nodes' names."""

    ranges: Mapping[str, Range]
    """Of what the crossings of the plan want observed."""
    histograms: Mapping[str, Histogram]
    """Of the same."""
    mean_inputs: Mapping[str, Tensor]
    """What the layers whose biases are to be corrected read."""
    covariances: Mapping[str, Tensor]
    """[channels, channels]: how what the layers whose weights get four bits read varies."""


def write(graph_module: GraphModule, plan: Mapping[str, Assignment], support: IntegerSupport, calibrated: Calibrated) -> None:
    """Rewrite the graph in place. Assignments go by their nodes' names."""
    within = crossings(graph_module, plan, support)
    grids = within.grids({node: calibrated.ranges[node.name] for node in within.observed})
    slopes = {node: fit.slope for node, fit in _fits(within, grids, calibrated.histograms, support).items()}
    for site in sites.find(graph_module):
        _become(graph_module, site, plan[site.node.name], support, grids, calibrated)
    for node, grid in grids.items():
        _cross(graph_module, node, grid, within, slopes)
    for node in slopes:
        node.target, node.args, node.kwargs = aten.silu.default, node.args[:1], {}
    sweep(graph_module)
    graph_module.recompile()


def _become(
    graph_module: GraphModule,
    site: Site,
    assignment: Assignment,
    support: IntegerSupport,
    grids: Mapping[Node, Grid],
    calibrated: Calibrated,
) -> None:
    """Write its weight, and what goes with it."""
    name = site.node.name
    mean_input, covariance = calibrated.mean_inputs.get(name), calibrated.covariances.get(name)
    shift = None if mean_input is None else bias.shift_by(site, mean_input)
    if assignment.activation == "dynamic":
        site = dynamic.computed(graph_module, site, support)
        dynamic.write(site, support)
    if assignment.weight is None or site.weight is None:
        return
    stored = weights.stored(graph_module, site.node, site.weight, assignment.weight, support, covariance)
    site.node.replace_input_with(site.weight.node, stored)
    if shift is not None:
        bias.correct(graph_module, site, shift(bias.restored(graph_module, stored) - site.weight.values))
    if assignment.is_static and site.bias is not None and assignment.weight == WeightFormat(kind="int8"):
        scales = grids[site.source].scale * weights.scales_of(site.weight.values, site.weight.output_axis, support)
        weights.round_bias(graph_module, site.node, site.bias, scales)


def gelu_fits(
    graph_module: GraphModule, plan: Mapping[str, Assignment], support: IntegerSupport, calibrated: Calibrated
) -> dict[str, gelu.Fit]:
    """By their nodes' names, the GELUs that `write` makes `x sigmoid(slope x)`."""
    within = crossings(graph_module, plan, support)
    grids = within.grids({node: calibrated.ranges[node.name] for node in within.observed})
    return {node.name: fit for node, fit in _fits(within, grids, calibrated.histograms, support).items()}


def _fits(
    crossings: Crossings, grids: Mapping[Node, Grid], histograms: Mapping[str, Histogram], support: IntegerSupport
) -> dict[Node, gelu.Fit]:
    """The form of each GELU between integers that becomes `x sigmoid(slope x)`."""
    found: dict[Node, gelu.Fit] = {}
    for node in crossings.readers if support.gelu == "sigmoid" else ():
        source = node.all_input_nodes[0]
        if operator_of(node) == "gelu" and source.name in histograms:
            fit = gelu.fitted(node, histograms[source.name], grids[source].scale, grids[node].scale)
            if fit is not None:
                found[node] = fit
    return found


def _cross(graph_module: GraphModule, node: Node, grid: Grid, crossings: Crossings, slopes: Mapping[Node, float]) -> None:
    """Let readers of integers take `node` through a pair; everybody, where an integer operator makes it. Each has a second half
    of its own, for a runtime takes that into the operator that reads it. A constant is stored as integers.

    `x sigmoid(slope x)` is SiLU between two scales: it reads slope times x, and makes slope times what its readers read.
    """
    users = [user for user in node.users if _reads_values(user) and (node in crossings.made or user in crossings.readers)]
    if not users:
        return
    values, behind = constant(graph_module, node), _behind(node)
    made = grid.times(slopes.get(node, 1.0))
    if values is None:
        quantized = add_call(behind, decomposed.quantize_per_tensor.default, node, *made.arguments)
    else:
        integers = decomposed.quantize_per_tensor(values, *made.arguments)
        quantized = add_constant(graph_module, behind, f"{node.target}_{str(grid.dtype).removeprefix('torch.')}", integers)
    for user in users:
        read = grid.times(slopes.get(user, 1.0))
        dequantized = add_call(user, decomposed.dequantize_per_tensor.default, quantized, *read.arguments)
        user.replace_input_with(node, dequantized)


def _reads_values(user: Node) -> bool:
    """Whether a tensor's user reads more than its size."""
    return not isinstance(user.meta.get("val"), torch.SymInt)


def _behind(node: Node) -> Node:
    """The node before which to write what reads `node`: the graph's inputs stay together."""
    behind = node.next
    while behind.op == "placeholder":
        behind = behind.next
    return behind
