"""A product or sum that broadcasts is given operands of one shape, where the runtime keeps maps in blocks of channels (profile:
`channel_block`) and leaves that layout to broadcast:

    x * gate[B, C, 1, 1]     the gate is upsampled to the map       (squeeze-and-excite; the mean before it becomes a pooling)
    x * gate[B, 1, H, W]     the convolution that makes the gate makes a block of equal channels, which is repeated

Both copies are cheap: a block is what the convolution computes anyway, and the copies that leaving the layout costs go.
"""

from __future__ import annotations

from torch.fx import GraphModule, Node

from edgekit.passes import Changes
from edgekit.passes._blocks import UNARY, blocked, is_blocked
from edgekit.passes._graph import add_call, add_constant, argument, aten, calls, is_call, only_user, replace, shape, where
from edgekit.passes._layers import layer
from edgekit.passes.pool_means import is_spatial, pool
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Give the operands of every product or sum that broadcasts in the blocked layout one shape, where a profile has that."""
    changes = Changes()
    block = profile.channel_block
    if block is None:
        return changes
    for graph_module in program:
        _pool_means(graph_module, block)
        found: set[Node] = set()
        for node in list(graph_module.graph.nodes):
            made = _widened(graph_module, node, found, block, changes)
            if made is not None or is_blocked(node, found, block):
                found.add(made or node)
    return changes


def _pool_means(graph_module: GraphModule, block: int) -> None:
    """The mean of a map becomes the pooling that stays in the layout."""
    found = blocked(graph_module, block)
    for node in calls(graph_module, aten.mean.dim):
        source = node.args[0]
        assert isinstance(source, Node)
        in_layout = source in found and shape(source)[1] % block == 0
        if in_layout and is_spatial(node) and argument(node, 3, "dtype") is None:
            pool(node)


def _widened(graph_module: GraphModule, node: Node, found: set[Node], block: int, changes: Changes) -> Node | None:
    """What stands, of equal shapes, in the place of a broadcasting product or sum of values in the layout; None for any other
    node."""
    if not is_call(node, aten.mul.Tensor, aten.add.Tensor) or argument(node, 2, "alpha", 1) != 1:
        return None
    operands = [operand for operand in node.args if isinstance(operand, Node) and operand in found]
    full = [operand for operand in operands if shape(operand) == shape(node)]
    if len(operands) < 2 or len(full) != 1:
        return None
    [whole] = full
    [gate] = [operand for operand in operands if operand is not whole]
    wide = _wide(graph_module, node, gate, block)
    changes.record(where(node), wide if isinstance(wide, str) else "")
    if isinstance(wide, str):
        return None
    assert callable(node.target)
    made = add_call(node, node.target, whole, wide)
    replace(node, made)
    return made


def _wide(graph_module: GraphModule, node: Node, gate: Node, block: int) -> Node | str:
    """The gate in the shape of `node`, in the layout; or why not."""
    batch, channels, height, width = shape(node)
    if shape(gate) == (batch, channels, 1, 1):
        return add_call(node, aten.upsample_nearest2d.vec, gate, [height, width], None)
    if shape(gate) != (batch, 1, height, width):
        return "it broadcasts along other axes than all channels or all pixels"
    if channels % block:
        return f"{channels} channels are no whole blocks of {block}"
    made = _a_block_of(graph_module, gate, block)
    if isinstance(made, str) or channels == block:
        return made
    return add_call(node, aten.cat.default, [made] * (channels // block), 1)


def _a_block_of(graph_module: GraphModule, gate: Node, block: int) -> Node | str:
    """A block of channels that are all equal to `gate`, [B, 1, H, W]."""
    if only_user(gate) is None:
        return f"{where(gate)} is used in its own shape too"
    if is_call(gate, *UNARY):
        source = gate.args[0]
        assert isinstance(source, Node)
        assert callable(gate.target)
        inside = _a_block_of(graph_module, source, block)
        return inside if isinstance(inside, str) else add_call(gate, gate.target, inside, *gate.args[1:], **gate.kwargs)
    found = layer(graph_module, gate)
    if found is None or found.groups != 1:
        return f"{where(gate)} is no convolution that could make more channels"
    weight = add_constant(graph_module, gate, f"{gate.name}_block", found.weight.repeat(block, 1, 1, 1))
    bias = None if found.bias is None else add_constant(graph_module, gate, f"{gate.name}_bias", found.bias.repeat(block))
    return add_call(gate, aten.conv2d.default, found.source, weight, bias, *gate.args[3:])
