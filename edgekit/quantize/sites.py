"""Sites: the operators of a graph that compute with floating point, each with its weight where that is constant."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes._graph import constant, shape
from edgekit.program import Program
from edgekit.quantize.plan import ActivationFormat, Assignment, WeightFormat

MOVES = frozenset(
    (
        *("alias", "chunk", "clone", "contiguous", "detach", "expand", "flatten", "flip", "getitem", "index_select"),
        *("max_pool2d", "narrow", "permute", "pixel_shuffle", "pixel_unshuffle", "repeat", "reshape", "roll", "select"),
        *(
            "slice",
            "split",
            "split_with_sizes",
            "squeeze",
            "t",
            "transpose",
            "unbind",
            "unflatten",
            "unsqueeze",
            "view",
            "view_as",
        ),
    )
)
"""Operators whose results are some of their operand's values: what they are given as integers they can hand on as such."""

_CONVOLUTIONS = frozenset(("conv1d", "conv2d", "conv3d"))
_TRANSPOSED = frozenset(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"))
_PRODUCTS = frozenset(("matmul", "mm", "bmm"))


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
        own = set() if self.weight is None else {self.weight.node, *self._bias()}
        return [node for node in self.node.all_input_nodes if is_floating_point(node) and node not in own]

    def left(self, why: str) -> Assignment:
        """It stays in floating point."""
        return Assignment(node=self.node.name, operator=self.operator, module=self.module, why=why)

    def becomes(
        self, weight: WeightFormat | None = None, activation: ActivationFormat | None = None, why: str = ""
    ) -> Assignment:
        """It is quantized: its weight, if it has one, and its activations."""
        kept = weight if self.weight is not None else None
        return Assignment(
            node=self.node.name, operator=self.operator, module=self.module, weight=kept, activation=activation, why=why
        )

    def _bias(self) -> list[Node]:
        given = [*self.node.args[2:3], self.node.kwargs.get("bias")] if self.operator not in _PRODUCTS else []
        return [node for node in given if isinstance(node, Node)]


def find(graph_module: GraphModule) -> list[Site]:
    """The sites in execution order."""
    return [
        Site(node, name, module_of(node), _weight(graph_module, node, name))
        for node in graph_module.graph.nodes
        if node.op == "call_function" and is_floating_point(node) and (name := operator_of(node)) not in MOVES
    ]


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
    if name not in _CONVOLUTIONS | _TRANSPOSED | _PRODUCTS | {"linear"}:
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
