"""`edgekit::ska` becomes shifts and products that every target has: no im2col, no gather, rank 4 for one image, 5 for a batch.

Rows of the padded input lie one after another, so a shift by (row, column) is one contiguous window of the flat image; the
kernels are padded to the same pitch, and the columns where a window runs over a row's end are cut off once, at the end.
Channel c uses kernel c mod G, so [C] is read as [C/G, G] and the kernels broadcast over the first.
"""

from __future__ import annotations

import math

import torch
from torch.fx import Node

from edgekit.ops.ska import shifts
from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, aten, calls, replace, shape, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Lower every SKA whose tensors stay within the profile's largest rank."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, torch.ops.edgekit.ska.default):
            rank = 4 if shape(node)[0] == 1 else 5
            if profile.max_rank is not None and rank > profile.max_rank:
                changes.refusals.append(Refusal(where(node), f"a batch takes rank {rank}, above {profile.max_rank}"))
                continue
            replace(node, _shifted_products(node))
            changes.changed += 1
    return changes


def _shifted_products(node: Node) -> Node:
    x, w = node.args
    assert isinstance(x, Node)
    assert isinstance(w, Node)
    batch, channels, height, width = shape(x)
    groups, area = shape(w)[1:3]
    side = math.isqrt(area)
    margin, pitch = side // 2, width + side - 1
    images, shared = ([], []) if batch == 1 else ([batch], [batch, 1])
    # One row more than the windows need: the last one runs over its end by the margins' width.
    padded = add_call(node, aten.pad.default, x, [margin, margin, margin, margin + 1])
    flat = add_call(node, aten.reshape.default, padded, [*images, channels // groups, groups, 1, (height + side) * pitch])
    kernels = add_call(node, aten.pad.default, w, [0, side - 1])
    kernels = add_call(node, aten.reshape.default, kernels, [*shared, groups, area, height * pitch])
    total = None
    for k, row, column in shifts(area):
        start = row * pitch + column
        window = add_call(node, aten.slice.Tensor, flat, len(images) + 3, start, start + height * pitch)
        kernel = add_call(node, aten.slice.Tensor, kernels, len(shared) + 1, k, k + 1)
        product = add_call(node, aten.mul.Tensor, window, kernel)
        total = product if total is None else add_call(node, aten.add.Tensor, total, product)
    assert total is not None
    image = add_call(node, aten.reshape.default, total, [batch, channels, height, pitch])
    return add_call(node, aten.slice.Tensor, image, 3, 0, width)
