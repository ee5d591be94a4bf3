"""Bias correction: by how much quantizing a weight shifts the mean of what a layer makes is taken off its bias.

A layer is linear: over the calibration samples the mean of its error is its error on their mean, padding and all (Nagel et al.
2019, "Data-Free Quantization through Weight Equalization and Bias Correction", section 4.2, which takes the means from
BatchNorm and leaves padding aside).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.passes._graph import add_constant, constant
from edgekit.quantize.sites import Site


def shift_by(site: Site, mean: Tensor) -> Callable[[Tensor], Tensor]:
    """How much an error of a layer's weight shifts the mean of each output channel, [channels], where its input's is `mean`."""
    node, weight = site.node, site.weight
    assert weight is not None
    target, rest, named = node.target, node.args[3:], _without_bias(node)

    def shift(error: Tensor) -> Tensor:
        size = weight.values.shape
        made: Tensor = target(mean.double(), error.double().reshape(size), None, *rest, **named)  # type: ignore[operator]  # a call
        axis = made.dim() - 1 if site.operator == "linear" else made.dim() - len(size) + 1
        return made.mean([place for place in range(made.dim()) if place != axis])

    return shift


def correct(graph_module: GraphModule, site: Site, shift: Tensor) -> None:
    """Take `shift` off the site's bias, which it may not have yet."""
    assert site.weight is not None
    node, before = site.node, constant(graph_module, site.bias)
    corrected = -shift if before is None else before.double() - shift
    new = add_constant(graph_module, node, f"{site.weight.node.target}_bias", corrected.to(site.weight.values.dtype))
    node.args = (node.args[0], node.args[1], new, *node.args[3:])
    node.kwargs = _without_bias(node)


def restored(graph_module: GraphModule, stored: Node) -> Tensor:
    """The weight that a node makes of constants."""
    values = constant(graph_module, stored)
    if values is not None:
        return values
    args, kwargs = torch.fx.map_arg((stored.args, stored.kwargs), lambda node: restored(graph_module, node))
    made: Tensor = stored.target(*args, **kwargs)  # type: ignore[operator]  # it is a call_function
    return made


def _without_bias(node: Node) -> dict[str, Any]:
    return {name: given for name, given in node.kwargs.items() if name != "bias"}
