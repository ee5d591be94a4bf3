"""Convolutions and linears as passes see them: an affine map of channels with constant weights, whatever its ATen form."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes._graph import add_constant, argument, aten, constant, is_call, shape

_CONVS = {aten.conv1d.default: 1, aten.conv2d.default: 2, aten.conv3d.default: 3}


@dataclass
class Layer:
    """A convolution or linear whose weight, and bias if it has one, are constants."""

    node: Node
    weight: Tensor
    """[out, in / groups, *kernel] of a convolution, [out, in] of a linear."""
    bias: Tensor | None
    """[out]"""

    @property
    def spatial_rank(self) -> int:
        """The number of kernel dimensions; 0 for a linear."""
        return self.weight.dim() - 2

    @property
    def is_conv(self) -> bool:
        return self.spatial_rank > 0

    @property
    def source(self) -> Node:
        """The node the layer is applied to."""
        node = self.node.args[0]
        assert isinstance(node, Node)
        return node

    @property
    def channel_axis(self) -> int:
        """The axis of the output that holds its channels."""
        return 1 if self.is_conv else len(shape(self.node)) - 1

    @property
    def groups(self) -> int:
        return int(argument(self.node, 6, "groups", 1)) if self.is_conv else 1

    def per_axis(self, index: int, name: str, default: int) -> tuple[int, ...]:
        """A convolution's stride (3), padding (4) or dilation (5), one number for each kernel dimension."""
        given = argument(self.node, index, name, default)
        values = [given] if isinstance(given, int) else list(given)
        return tuple(values * self.spatial_rank if len(values) == 1 else values)

    @property
    def stride(self) -> tuple[int, ...]:
        return self.per_axis(3, "stride", 1)

    @property
    def padding(self) -> tuple[int, ...]:
        return self.per_axis(4, "padding", 0)

    @property
    def dilation(self) -> tuple[int, ...]:
        return self.per_axis(5, "dilation", 1)

    def bias_or_zeros(self) -> Tensor:
        return self.weight.new_zeros(self.weight.shape[0]) if self.bias is None else self.bias

    def scaled(self, scale: Tensor, shift: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of `layer * scale + shift`; `scale` and `shift` are [out] or scalars."""
        weight = self.weight.double() * scale.double().reshape(-1, *([1] * (self.weight.dim() - 1)))
        if shift is None:
            return weight, None if self.bias is None else self.bias.double() * scale
        return weight, self.bias_or_zeros().double() * scale + shift

    def rewrite(self, graph_module: GraphModule, weight: Tensor, bias: Tensor | None) -> None:
        """Give the layer's node other weights, in place. They may come in float64, so that folding rounds once."""
        old_weight = self.node.args[1]
        hint = str(old_weight.target) if isinstance(old_weight, Node) else self.node.name
        new_weight = add_constant(graph_module, self.node, hint, weight.to(self.weight.dtype))
        new_bias = None
        if bias is not None:
            new_bias = add_constant(graph_module, self.node, f"{hint}_bias", bias.to(self.weight.dtype))
        self.node.args = (self.node.args[0], new_weight, new_bias, *self.node.args[3:])
        self.node.kwargs = {k: v for k, v in self.node.kwargs.items() if k != "bias"}


def layer(graph_module: GraphModule, node: object) -> Layer | None:
    """`node` as a Layer; None when it is none, its weights are computed or complex, or a convolution has no batch axis."""
    if not (isinstance(node, Node) and (is_call(node, *_CONVS) or is_call(node, aten.linear.default))):
        return None
    weight, bias_node = constant(graph_module, node.args[1]), argument(node, 2, "bias")
    bias = constant(graph_module, bias_node)
    if weight is None or not weight.is_floating_point() or (bias_node is not None and bias is None):
        return None
    if is_call(node, *_CONVS) and len(shape(node)) != weight.dim():
        return None
    return Layer(node, weight, bias)


def per_channel(tensor: Tensor, owner: Layer) -> Tensor | None:
    """`tensor` as [out] values when broadcasting it over `owner`'s output gives one value a channel, else None."""
    if tensor.numel() == 1:
        return tensor.reshape(())
    rank, axis = len(shape(owner.node)), owner.channel_axis
    padded = (1,) * (rank - tensor.dim()) + tuple(tensor.shape)
    channels = owner.weight.shape[0]
    fits = len(padded) == rank and all(s == (channels if a == axis else 1) for a, s in enumerate(padded))
    return tensor.reshape(channels) if fits else None
