"""Which values a runtime keeps in its blocked layout, where `channel_block` channels of a pixel lie side by side.

Convolutions make and take it, and so do pooling, upsampling and elementwise operators of equal shapes; every other operator
first has its operands copied back to the plain layout (ONNX Runtime, nchwc_transformer.cc).
"""

from __future__ import annotations

from torch.fx import GraphModule, Node

from edgekit.passes._graph import argument, aten, is_call, shape

UNARY = (
    aten.gelu.default,
    aten.hardsigmoid.default,
    aten.relu.default,
    aten.sigmoid.default,
    aten.silu.default,
    aten.tanh.default,
)
_BINARY = (aten.add.Tensor, aten.mul.Tensor)
_POOLS = (aten.adaptive_avg_pool2d.default, aten.avg_pool2d.default, aten.max_pool2d.default)
_ALIGNMENT = 4
"""Channel counts that are no multiple of it stay in the plain layout."""


def blocked(graph_module: GraphModule, block: int) -> set[Node]:
    """The nodes whose values lie in blocks of `block` channels."""
    found: set[Node] = set()
    for node in graph_module.graph.nodes:
        if is_blocked(node, found, block):
            found.add(node)
    return found


def is_blocked(node: Node, found: set[Node], block: int) -> bool:
    """Whether a node's value lies in blocks, `found` being those before it whose values do."""
    if is_call(node, aten.conv2d.default):
        return _takes_blocks(node, block)
    if is_call(node, *UNARY, aten.upsample_nearest2d.vec, aten.batch_norm.default):
        return node.args[0] in found
    if is_call(node, *_BINARY):
        return all(
            isinstance(operand, Node) and operand in found and shape(operand) == shape(node) for operand in node.args[:2]
        )
    if is_call(node, *_POOLS):
        return node.args[0] in found and shape(node)[1] % block == 0
    if is_call(node, aten.cat.default):
        parts = node.args[0]
        assert isinstance(parts, (list, tuple))
        whole = all(isinstance(part, Node) and part in found and shape(part)[1] % block == 0 for part in parts)
        return node.args[1:] == (1,) and whole
    return False


def _takes_blocks(node: Node, block: int) -> bool:
    weight = node.args[1]
    if not isinstance(weight, Node) or weight.op != "get_attr":
        return False
    outputs, inputs = shape(weight)[:2]
    groups = argument(node, 6, "groups", 1)
    if groups == 1:
        return inputs < block or inputs % _ALIGNMENT == 0
    if groups == outputs and inputs == 1:
        return outputs % _ALIGNMENT == 0
    return inputs % block == 0 and (outputs // groups) % block == 0
