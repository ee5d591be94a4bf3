"""Channels of depthwise convolutions are filled up to whole blocks, where the runtime has its faster kernel for those alone
(profile: `depthwise_block`), with all that is elementwise between the convolutions that make them and those that read them:

    conv 48 to 56 - depthwise 56 - relu - conv 56 to 48     becomes     conv 48 to 64 - depthwise 64 - relu - conv 64 to 48

The weights of the channels that are added are zeros, and so are those by which they are read: the same numbers. ONNX Runtime's
integer kernel that adds and rounds in registers takes depthwise convolutions of 16, 32, 48 .. channels (mlas/lib/convsym.cpp).
"""

from __future__ import annotations

from torch import Tensor
from torch.fx import GraphModule, Node
from torch.nn.functional import pad

from edgekit.passes import Changes
from edgekit.passes._blocks import UNARY
from edgekit.passes._graph import aten, calls, constant, is_call, shape, where
from edgekit.passes._layers import Layer, layer
from edgekit.passes._regions import Builder, Refused, rewrite
from edgekit.passes.pool_means import is_spatial
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_MOST_ADDED = 0.25
"""Of the channels there are: all that is elementwise computes those added too."""
_ELEMENTWISE = (
    *UNARY,
    aten.clamp.default,
    aten.elu.default,
    aten.hardswish.default,
    aten.hardtanh.default,
    aten.leaky_relu.default,
    aten.relu6.default,
)
_PLANES = (
    aten.adaptive_avg_pool2d.default,
    aten.avg_pool2d.default,
    aten.max_pool2d.default,
    aten.upsample_bilinear2d.vec,
    aten.upsample_nearest2d.vec,
)
"""What computes each channel's plane by itself."""
_BINARY = (aten.add.Tensor, aten.mul.Tensor, aten.sub.Tensor)


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Fill the channels of every depthwise convolution whose number is no multiple of the profile's block."""
    changes, block = Changes(), profile.depthwise_block
    for graph_module in program if block > 1 else ():
        filled: set[Node] = set()
        for node in calls(graph_module, aten.conv2d.default):
            found = layer(graph_module, node) if node not in filled else None
            if found is not None and _is_depthwise(found) and found.weight.shape[0] % block:
                filled |= _fill(graph_module, found, -found.weight.shape[0] % block, changes)
    return changes


def _is_depthwise(found: Layer) -> bool:
    return found.groups == shape(found.source)[1] == found.weight.shape[0] > 1


def _fill(graph_module: GraphModule, found: Layer, added: int, changes: Changes) -> set[Node]:
    """Add channels to one, with all that is connected to it: those nodes, in whose place others stand now."""
    channels = found.weight.shape[0]
    if added > _MOST_ADDED * channels:
        changes.record(where(found.node), f"{added} channels would have to be added to its {channels}")
        return set()
    wide = _Wide(graph_module, channels, added)
    try:
        wide.grow(found.node)
    except Refused as refused:
        changes.record(where(found.node), f"{where(refused.node)} {refused.reason}")
        return set()
    order = {node: place for place, node in enumerate(graph_module.graph.nodes)}
    region = sorted({*wide.values, *wide.readers}, key=order.__getitem__)
    rewrite(wide, region, wide.visit, "keeps its channels", changes)
    return wide.values


class _Wide(Builder):
    """The values that get channels when those of one depthwise convolution do, and what is built in their place."""

    def __init__(self, graph_module: GraphModule, channels: int, added: int) -> None:
        super().__init__(graph_module)
        self.channels = channels
        self.added = added
        self.values: set[Node] = set()
        """What gets more channels."""
        self.readers: set[Node] = set()
        """The convolutions that read such values, and make as many channels as before."""
        self.narrow: set[Node] = set()
        """Single pixels that something else reads: it gets the channels there were."""
        self._made: dict[Node, Node] = {}

    def grow(self, seed: Node) -> None:
        """Find all that is connected to `seed`. Raises Refused where something cannot get more channels."""
        waiting = [seed]
        while waiting:
            node = waiting.pop()
            if node in self.values:
                continue
            self.values.add(node)
            waiting += self._sources(node)
            for user in node.users:
                if self._reads(user, node):
                    self.readers.add(user)
                elif self._passes(user, node):
                    waiting.append(user)
                elif shape(node)[2:] == (1, 1):
                    self.narrow.add(node)
                else:
                    raise Refused(user, f"reads maps of {self.channels} channels as no convolution does")

    def _sources(self, node: Node) -> list[Node]:
        """What must get channels for `node` to have more."""
        found = self._conv(node)
        if found is not None and found.groups == 1:
            return []
        if found is not None and _is_depthwise(found):
            return [found.source]
        if not self._is_elementwise(node):
            raise Refused(node, f"makes maps of {self.channels} channels as no convolution does")
        wide = [given for given in node.all_input_nodes if self._is_of_channels(given)]
        return [given for given in wide if constant(self.graph_module, given) is None]

    def _conv(self, node: Node) -> Layer | None:
        return layer(self.graph_module, node) if is_call(node, aten.conv2d.default) else None

    def _is_of_channels(self, node: Node) -> bool:
        given = shape(node)
        return len(given) >= 3 and given[-3] == self.channels

    def _is_elementwise(self, node: Node) -> bool:
        """Whether a channel of the result depends on the same one of the operands alone; of binary operators, those that are
        maps of as many channels, of one, or constants of either."""
        if is_call(node, *_ELEMENTWISE, *_PLANES) or (is_call(node, aten.mean.dim) and is_spatial(node)):
            return True
        operands = [given for given in node.args[:2] if isinstance(given, Node)]
        return is_call(node, *_BINARY) and len(shape(node)) == 4 and all(map(self._fits, operands))

    def _fits(self, operand: Node) -> bool:
        if self._is_of_channels(operand):
            return len(shape(operand)) == 4 or constant(self.graph_module, operand) is not None
        return shape(operand)[-3:-2] in ((1,), ())

    def _reads(self, user: Node, node: Node) -> bool:
        """Whether a user is a convolution of all channels."""
        found = self._conv(user)
        return found is not None and found.groups == 1 and found.source is node

    def _passes(self, user: Node, node: Node) -> bool:
        """Whether a user makes as many channels of `node` as that has."""
        found = self._conv(user)
        if found is not None:
            return _is_depthwise(found) and found.source is node
        return self._is_elementwise(user) and shape(user)[1] == self.channels

    def visit(self, node: Node) -> None:
        """Build the form of one node."""
        found = self._conv(node)
        if found is not None:
            made = self._convolution(found)
        else:
            arguments = [self._operand(given) if isinstance(given, Node) else given for given in node.args]
            assert callable(node.target)
            made = self.call(node.target, *arguments, **node.kwargs)
        self._made[node] = made
        self.instead[node] = self.call(aten.slice.Tensor, made, 1, 0, self.channels) if node in self.narrow else made

    def _operand(self, node: Node) -> Node:
        values = constant(self.graph_module, node)
        if values is None or not self._is_of_channels(node):
            return self._made.get(node, node)
        return self.constant(self._filled(values, values.dim() - 3))

    def _convolution(self, found: Layer) -> Node:
        weight, bias, groups = found.weight, found.bias, found.groups
        if groups == 1 and found.source in self.values:
            weight = self._filled(weight, 1)
        if found.node in self.values:
            weight, bias = self._filled(weight, 0), None if bias is None else self._filled(bias, 0)
            groups += self.added if groups > 1 else 0
        made = [self.constant(weight), None if bias is None else self.constant(bias)]
        settings = [list(found.stride), list(found.padding), list(found.dilation), groups]
        return self.call(aten.conv2d.default, self._made.get(found.source, found.source), *made, *settings)

    def _filled(self, values: Tensor, axis: int) -> Tensor:
        return pad(values, [0, 0] * (values.dim() - 1 - axis) + [0, self.added])
