"""Sites: the operators of a graph that compute with floating point, each with its weight where that is constant."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.errors import InputError
from edgekit.passes._graph import argument, constant, shape
from edgekit.passes.pool_means import is_spatial
from edgekit.profiles import IntegerSupport
from edgekit.program import Program
from edgekit.quantize.plan import ActivationFormat, Assignment, Plan, WeightFormat

_SHAPES = ("contiguous", "flatten", "reshape", "squeeze", "unflatten", "unsqueeze", "view", "view_as")
_COPIES = ("alias", "clone", "detach", "expand", "repeat")
_ORDERS = ("flip", "mT", "movedim", "numpy_T", "permute", "pixel_shuffle", "pixel_unshuffle", "roll", "t", "transpose")
_PARTS = ("chunk", "getitem", "max_pool2d", "narrow", "slice", "split", "split_with_sizes", "unbind")
_CHOICES = ("gather", "index_select", "select")
MOVES = frozenset((*_SHAPES, *_COPIES, *_ORDERS, *_PARTS, *_CHOICES))
"""Operators whose results are some of their operand's values: what they are given as integers they can hand on as such."""

_CONVOLUTIONS = frozenset(("conv1d", "conv2d", "conv3d"))
_TRANSPOSED = frozenset(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"))
_PRODUCTS = frozenset(("matmul", "mm", "bmm"))
_WITH_BIAS = _CONVOLUTIONS | _TRANSPOSED | {"linear"}
_TWO_OPERANDS = frozenset(("add", "sub", "mul", "div"))


@dataclass(frozen=True)
class Weight:
    """The constant operand of a convolution, a linear or a product of matrices."""

    node: Node
    """The `get_attr` that reads it."""
    values: Tensor
    output_axis: int
    """Of its output channels: each gets a scale of its own."""
    input_axis: int
    """Along which products are summed: in groups of it, finer scales are given."""


@dataclass(frozen=True)
class Site:
    """An operator that computes."""

    node: Node
    operator: str
    """Its ATen name, without the overload: conv2d."""
    module: str
    """The path of the module it is from; empty where that is not known."""
    weight: Weight | None

    @property
    def activations(self) -> list[Node]:
        """The floating-point tensors it reads, but for its weight and bias; constants among them."""
        own = {self.bias, None if self.weight is None else self.weight.node}
        return [node for node in self.node.all_input_nodes if is_floating_point(node) and node not in own]

    @property
    def source(self) -> Node:
        """What it is applied to."""
        source = self.node.args[0]
        assert isinstance(source, Node)
        return source

    @property
    def takes_bias(self) -> bool:
        """Whether it has a constant weight and, or could have, a bias that is constant too."""
        constant = self.bias is None or self.bias.op == "get_attr"
        return self.weight is not None and self.operator in _WITH_BIAS and constant

    @property
    def no_integers(self) -> str:
        """Why it cannot compute with integers whatever the runtime; empty where it can."""
        if self.operator in _TWO_OPERANDS and not all(isinstance(operand, Node) for operand in self.node.args[:2]):
            return "it takes a number, where integer kernels take two tensors"
        if argument(self.node, 2, "alpha", 1) != 1 and self.operator in ("add", "sub"):
            return "it scales an operand as it adds it"
        if self.operator == "mean" and not is_spatial(self.node):
            return "it is no mean of whole maps with its axes kept"
        if self.operator == "adaptive_avg_pool2d" and set(_both(self.node.args[1])) != {1}:
            return "it makes more than one average of a map"
        made = [node.meta.get("val") for node in (self.node, *self.node.all_input_nodes)]
        if not all(isinstance(tensor, Tensor) and tensor.dtype == torch.float32 for tensor in made):
            return "not all that it reads and makes are tensors of float32"
        return ""

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a convolution of each pixel by itself, which a linear computes as well."""
        if self.operator != "conv2d" or self.weight is None or argument(self.node, 6, "groups", 1) != 1:
            return False
        stride, padding = argument(self.node, 3, "stride", 1), argument(self.node, 4, "padding", 0)
        return [set(self.weight.values.shape[2:]), set(_both(stride)), set(_both(padding))] == [{1}, {1}, {0}]

    def is_linear_of(self, support: IntegerSupport) -> bool:
        """Whether, for ranges of each run's own, the runtime wants a linear in its place."""
        return support.pointwise_as_linear and self.is_pointwise

    def no_dynamic(self, form: str, support: IntegerSupport) -> str:
        """Why the runtime does not compute it with a weight of this format in ranges of each run's own; empty where it does."""
        if self.weight is None:
            return "it has no constant weight"
        if self.operator == "conv2d" and argument(self.node, 6, "groups", 1) != 1:
            return "ranges of each run's own are for convolutions of one group"
        if self.operator == "conv2d" and self.weight.values.shape[1] == 1 and not self.is_linear_of(support):
            return "a convolution of one channel counts as depthwise, which has no ranges of each run's own"
        operator = "linear" if self.is_linear_of(support) else self.operator
        if operator not in support.dynamic.get(form, ()):
            return f"the runtime computes no {operator} with {form} weights in ranges of each run's own"
        return ""

    def left(self, why: str) -> Assignment:
        """It stays in floating point."""
        return Assignment(node=self.node.name, operator=self.operator, module=self.module, why=why)

    def becomes(
        self, weight: WeightFormat | None = None, activation: ActivationFormat | None = None, why: str = ""
    ) -> Assignment:
        """It is quantized: its weight, if it has one, and its activations; unless it cannot compute with integers."""
        if activation in ("uint8", "int8") and self.no_integers:
            return self.left(self.no_integers)
        kept = weight if self.weight is not None else None
        return Assignment(
            node=self.node.name, operator=self.operator, module=self.module, weight=kept, activation=activation, why=why
        )

    @property
    def bias(self) -> Node | None:
        """What it adds to each output channel."""
        bias = argument(self.node, 2, "bias") if self.operator in _WITH_BIAS else None
        return bias if isinstance(bias, Node) else None


def find(graph_module: GraphModule) -> list[Site]:
    """The sites in execution order."""
    return [
        Site(node, name, module_of(node), _weight(graph_module, node, name))
        for node in graph_module.graph.nodes
        if node.op == "call_function" and is_floating_point(node) and not moves(node) and (name := operator_of(node))
    ]


def moves(node: Node) -> bool:
    """Whether the results of a call are some of its operand's values."""
    return operator_of(node) in MOVES


def _both(setting: Any) -> tuple[Any, ...]:
    """A setting of both axes, or of each."""
    return tuple(setting) if isinstance(setting, (list, tuple)) else (setting,)


def operator_of(node: Node) -> str:
    """The ATen name of what a node calls, without its overload: conv2d."""
    target = node.target
    return target._overloadpacket.__name__ if isinstance(target, torch._ops.OpOverload) else getattr(target, "__name__", "")


def module_of(node: Node) -> str:
    """The path of the module a node is from; empty where that is not known."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(next(reversed(stack.values()))[0]) if stack else ""


def is_floating_point(node: Node) -> bool:
    """Whether the node makes a tensor of floating-point numbers, or several."""
    made = node.meta.get("val")
    first = made[0] if isinstance(made, (tuple, list)) and made else made
    return isinstance(first, Tensor) and first.is_floating_point()


def _weight(graph_module: GraphModule, node: Node, name: str) -> Weight | None:
    if name not in _WITH_BIAS | _PRODUCTS:
        return None
    operand = node.args[1]
    values = constant(graph_module, operand)
    if values is None or not values.is_floating_point() or not isinstance(operand, Node) or values.dim() < 2:
        return None
    if name in _PRODUCTS:
        return Weight(operand, values, output_axis=values.dim() - 1, input_axis=values.dim() - 2)
    if name in _TRANSPOSED:
        return Weight(operand, values, output_axis=1, input_axis=0)
    return Weight(operand, values, output_axis=0, input_axis=1)


def require_possible(plan: Plan, found: Sequence[Site], support: IntegerSupport) -> None:
    """Raise InputError unless a plan, which may have been edited, has one line for each of the sites, and asks nothing of the
    runtime that it does not have."""
    named = [assignment.node for assignment in plan.sites]
    by_name = {site.node.name: site for site in found}
    for assignment in plan.sites:
        meant = by_name.get(assignment.node)
        why = f"the model has no operator {assignment.node}" if meant is None else _impossible(assignment, meant, support)
        if why:
            raise InputError(
                f"the plan's line for {assignment.node} cannot be followed", cause=why, next_step="correct or remove it"
            )
    for name, site in by_name.items():
        if named.count(name) != 1:
            raise InputError(
                f"the plan has {named.count(name) or 'no'} lines for {name}",
                cause="each operator has one",
                next_step=f"give it one: `node: {name}, operator: {site.operator}` alone keeps floating point",
            )


def _impossible(assignment: Assignment, site: Site, support: IntegerSupport) -> str:
    """Why a site cannot become what is asked for; empty where it can."""
    weight, activation = assignment.weight, assignment.activation
    if assignment.operator != site.operator:
        return f"that operator is {site.operator}"
    if weight is not None and site.weight is None:
        return f"{site.operator} has no constant weight here"
    if activation == "dynamic":
        return (
            "a range of each run's own wants a weight of few bits" if weight is None else site.no_dynamic(weight.kind, support)
        )
    if activation is not None:
        if activation != support.activation:
            return f"the runtime computes with {support.activation or 'no'} integers, not with {activation}"
        if site.weight is not None and str(weight) != "int8":
            return f"with {activation} goes the weight int8, not {weight or 'one in floating point'}"
        unable = "" if site.operator in support.operators else f"the runtime has no integer kernel for {site.operator}"
        return unable or site.no_integers
    if weight is None:
        return ""
    if site.operator not in support.weights.get(weight.kind, ()):
        return f"the runtime takes no {weight.kind} weights in {site.operator}"
    if weight.bits is not None and weight.bits not in support.palette_bits:
        return f"the runtime takes palettes of {', '.join(map(str, support.palette_bits))} bits"
    return ""


def fingerprint(program: Program) -> str:
    """The hash of the graphs' operators, their order, arguments and shapes: what a plan's node names refer to."""
    digest = hashlib.sha256()
    for name, function in program.functions.items():
        digest.update(name.encode())
        for node in function.graph_module.graph.nodes:
            made = node.meta.get("val")
            size = tuple(map(str, shape(node))) if isinstance(made, Tensor) else ()
            digest.update(f"{node.name} {node.op} {node.target} {node.args} {node.kwargs} {size}\n".encode())
    return digest.hexdigest()[:16]
