"""How each weight format is written into a graph: constants of few bits, and what makes floating point of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.errors import UsageError
from edgekit.passes._graph import add_call, add_constant
from edgekit.quantize.plan import WeightFormat
from edgekit.quantize.sites import Weight

_LARGEST = 127
"""Of an int8 weight: -128 would make the grid asymmetric, and kernels that multiply pairs overflow."""


def stored(graph_module: GraphModule, before: Node, weight: Weight, form: WeightFormat) -> Node:
    """The node that gives, before `before`, the weight as `form` keeps it."""
    if form.kind == "int8" and form.group is None:
        return _by_channel(graph_module, before, weight)
    raise UsageError(f"no weight is stored as {form} yet", next_step="store it as int8")


def _by_channel(graph_module: GraphModule, before: Node, weight: Weight) -> Node:
    """int8, symmetric, a scale for each output channel."""
    from edgekit.quantize.insert import decomposed

    axis = weight.output_axis
    scales = scales_of(weight.values, axis)
    along = [-1 if place == axis else 1 for place in range(weight.values.dim())]
    integers = (weight.values / scales.view(along)).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
    hint = str(weight.node.target)
    constants = [
        add_constant(graph_module, before, f"{hint}_{part}", tensor)
        for part, tensor in (("int8", integers), ("scales", scales), ("zeros", torch.zeros_like(scales, dtype=torch.int64)))
    ]
    return add_call(before, decomposed.dequantize_per_channel.default, *constants, axis, -_LARGEST, _LARGEST, torch.int8)


def scales_of(values: Tensor, axis: int) -> Tensor:
    """[channels along `axis`]: the largest magnitude of each over 127; one where a channel is all zeros, or next to it."""
    others = [place for place in range(values.dim()) if place != axis]
    largest = values.abs().amax(others)
    scales = (largest / _LARGEST).float()
    return torch.where(scales >= torch.finfo(torch.float32).tiny, scales, torch.ones_like(scales))
