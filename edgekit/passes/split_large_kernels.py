"""A depthwise convolution with more taps than the runtime's depthwise kernels have (profile: `depthwise_taps`) becomes a sum of
smaller ones, where the runtime would else compute a product of matrices a channel.

Each part takes rows of the kernel at equal distances, as many above its centre as below, so that it is a dilated kernel with
the same centre, and its padding is symmetric again; columns likewise, where two rows alone have too many taps:

    7x7   =   rows 0, 3, 6 (dilation 3)   +   rows 1, 5 (dilation 4)   +   rows 2, 4 (dilation 2)      at most 25 taps each
"""

from __future__ import annotations

from torch.fx import GraphModule

from edgekit.passes import Changes
from edgekit.passes._graph import add_call, add_constant, aten, calls, replace, where
from edgekit.passes._layers import Layer, layer
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program

Part = tuple[range, range]
"""Rows and columns of a kernel."""


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Take every depthwise convolution apart that has more taps than the profile's most."""
    changes = Changes()
    most = profile.depthwise_taps
    if most is None:
        return changes
    for graph_module in program:
        for node in calls(graph_module, aten.conv2d.default):
            found = layer(graph_module, node)
            if found is None or found.weight.shape[1] > 1 or found.groups < found.weight.shape[0]:
                continue
            height, width = found.weight.shape[2:]
            if height * width <= most:
                continue
            parts = _parts(height, width, most)
            reason = _why_not(found, parts)
            if not reason:
                _take_apart(graph_module, found, parts)
            changes.record(where(node), reason)
    return changes


def _parts(height: int, width: int, most: int) -> list[Part]:
    columns = _groups(width, width if 2 * width <= most else most // 2)
    return [(rows, some) for some in columns for rows in _groups(height, most // len(some))]


def _groups(size: int, most: int) -> list[range]:
    """The places 0 to `size` - 1 in groups of at most `most`, which is 2 or more; each at equal distances around the middle."""
    around = [
        range(first, size - first, step)
        for first in range((size + 1) // 2)
        for step in range(1, size + 1)
        if (size - 1 - 2 * first) % step == 0
    ]
    left, found = set(range(size)), []
    while left:
        found.append(max((group for group in around if len(group) <= most and left.issuperset(group)), key=len))
        left -= set(found[-1])
    return found


def _why_not(found: Layer, parts: list[Part]) -> str:
    for axis, (dilation, padding) in enumerate(zip(found.dilation, found.padding, strict=True)):
        if max(part[axis].start for part in parts) * dilation > padding:
            return "it is padded by less than its parts begin inside its kernel"
    return ""


def _take_apart(graph_module: GraphModule, found: Layer, parts: list[Part]) -> None:
    node, total = found.node, None
    for part in parts:
        rows, columns = part
        kernel = add_constant(graph_module, node, f"{node.name}_part", found.weight[:, :, list(rows)][:, :, :, list(columns)])
        bias = None
        if found.bias is not None and total is None:
            bias = add_constant(graph_module, node, f"{node.name}_bias", found.bias)
        padding = [p - taken.start * d for p, taken, d in zip(found.padding, part, found.dilation, strict=True)]
        dilation = [taken.step * d for taken, d in zip(part, found.dilation, strict=True)]
        spacing = [list(found.stride), padding, dilation, found.groups]
        term = add_call(node, aten.conv2d.default, found.source, kernel, bias, *spacing)
        total = term if total is None else add_call(node, aten.add.Tensor, total, term)
    assert total is not None
    replace(node, total)
