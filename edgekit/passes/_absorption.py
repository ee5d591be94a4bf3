"""Layers that take a scale and a shift a channel of what they read into their own weights."""

from __future__ import annotations

from torch import Tensor
from torch.fx import Node

from edgekit.passes._graph import shape, where
from edgekit.passes._layers import Layer


def why_not_absorb(node: Node, after: list[Layer | None], shift: Tensor) -> str:
    """Why not all that reads `node`, the layers `after` it, can take a scale and a shift a channel; empty where they can."""
    if not after:
        return "it is an output"
    for user, found in zip(node.users, after, strict=True):
        if found is None or node in user.args[1:]:
            return f"{where(user)} after it is no layer to fold into"
        if found.is_conv and any(found.padding) and bool(shift.any()):
            kind = "depthwise convolution" if found.groups == shift.numel() > 1 else "convolution"
            return f"the {kind} {where(user)} after it pads with zeros, which its shift would have to fill"
        if not found.is_conv and len(shape(node)) != 2:
            return f"the linear {where(user)} after it takes another axis than that of the channels"
    return ""


def absorbed(user: Layer, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of `user` applied to `scale * x + shift`."""
    weight = user.weight.double()
    outputs, inputs_a_group = weight.shape[:2]
    # Row o of the weight sees the channels of its own group alone.
    seen = shift.reshape(user.groups, inputs_a_group).repeat_interleave(outputs // user.groups, dim=0)
    factors = scale.reshape(user.groups, inputs_a_group).repeat_interleave(outputs // user.groups, dim=0)
    kernel = [1] * user.spatial_rank
    bias = (weight * seen.reshape(outputs, inputs_a_group, *kernel)).flatten(1).sum(1)
    folded = weight * factors.reshape(outputs, inputs_a_group, *kernel)
    return folded, bias if user.bias is None else bias + user.bias
