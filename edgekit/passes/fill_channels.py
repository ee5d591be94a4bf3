"""A convolution of one or two channels reads them repeated, up to as many as the runtime's kernel wants (profile:
`least_channels`), with zeros for weights: the same numbers.

Integer kernels read the channels of a pixel four at a time; for fewer, ONNX Runtime first copies what lies under the kernel,
pixel by pixel.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, aten, calls, where
from edgekit.passes._layers import Layer, layer
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

_RESULTS = 64
"""The fewest output channels for which repeating the operand pays."""


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Fill up every convolution of few channels under a kernel of several places."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, aten.conv2d.default):
            found = layer(graph_module, node)
            if found is None or found.groups > 1 or set(found.weight.shape[2:]) == {1}:
                continue
            if found.weight.shape[1] < profile.least_channels:
                reason = _why_not(found, profile.least_channels)
                if not reason:
                    _fill(graph_module, found, profile.least_channels)
                changes.record(where(node), reason)
    return changes


def _why_not(found: Layer, least: int) -> str:
    made, channels = found.weight.shape[:2]
    if least % channels:
        return f"{channels} channels repeated never are {least}"
    return f"{made} output channels are too few for that to pay" if made < _RESULTS else ""


def _fill(graph_module: GraphModule, found: Layer, least: int) -> None:
    channels = found.weight.shape[1]
    repeated = add_call(found.node, aten.cat.default, [found.source] * (least // channels), 1)
    found.node.replace_input_with(found.source, repeated)
    zeros = torch.zeros_like(found.weight[:, :1]).expand(-1, least - channels, -1, -1)
    found.rewrite(graph_module, torch.cat([found.weight, zeros], 1), found.bias)
