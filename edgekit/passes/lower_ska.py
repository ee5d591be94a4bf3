"""`edgekit::ska` becomes operators that every target has: no im2col, no gather.

On small maps (profile: `ska_dense_pixels`) it is two batched products of matrices. The kernels of all pixels are spread
into one matrix over the pixels a group, zero where two pixels are no neighbours, by a product with a constant; that matrix
multiplies the group's channels, and its zeros stand for the padding too:

    M[g, p, q] = sum over k of  w[g, k, p] * (1 where q = p + offset_k)
    out[c, p]  = sum over q of  x[c, q] * M[c mod G, p, q]

Elsewhere it is shifts and products, of rank 4 for one image and 5 for a batch.

Rows of the padded input lie one after another, so a shift by (row, column) is one contiguous window of the flat image; the
kernels are padded to the same pitch, and the columns where a window runs over a row's end are cut off once, at the end.
Channel c uses kernel c mod G, so [C] is read as [C/G, G] and the kernels broadcast over the first.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.ops.ska import shifts
from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, add_constant, aten, calls, replace, shape, value, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Lower every SKA whose tensors stay within the profile's largest rank."""
    changes = Changes()
    for graph_module in program:
        for node in calls(graph_module, torch.ops.edgekit.ska.default):
            if math.prod(shape(node)[2:]) <= profile.ska_dense_pixels:
                replace(node, _dense_products(graph_module, node))
                changes.changed += 1
                continue
            rank = 4 if shape(node)[0] == 1 else 5
            if profile.max_rank is not None and rank > profile.max_rank:
                changes.refusals.append(Refusal(where(node), f"a batch takes rank {rank}, above {profile.max_rank}"))
                continue
            replace(node, _shifted_products(node))
            changes.changed += 1
    return changes


def _dense_products(graph_module: GraphModule, node: Node) -> Node:
    x, w = node.args
    assert isinstance(x, Node)
    assert isinstance(w, Node)
    batch, channels, height, width = shape(x)
    groups, area = shape(w)[1:3]
    pixels, shared = height * width, channels // groups
    images = [] if batch == 1 else [batch]
    first = len(images)
    spread = add_constant(graph_module, node, f"{node.name}_neighbours", _neighbours(height, width, area).to(value(x).dtype))
    kernels = add_call(node, aten.reshape.default, w, [batch, groups * area, height, width])
    kernels = add_call(node, aten.permute.default, kernels, [0, 2, 3, 1])
    kernels = add_call(node, aten.reshape.default, kernels, [*images, pixels, groups, area])
    matrices = add_call(node, aten.matmul.default, kernels, spread)  # [pixels, groups, pixels]
    matrices = add_call(node, aten.permute.default, matrices, [*range(first), first + 1, first + 2, first])
    grouped = add_call(node, aten.reshape.default, x, [*images, shared, groups, pixels])
    grouped = add_call(node, aten.transpose.int, grouped, first, first + 1)
    total = add_call(node, aten.matmul.default, grouped, matrices)  # [groups, shared, pixels]
    image = add_call(node, aten.transpose.int, total, first, first + 1)
    return add_call(node, aten.reshape.default, image, [batch, channels, height, width])


def _neighbours(height: int, width: int, area: int) -> Tensor:
    """[H W, K K, H W]: one where the last pixel is the first one's neighbour at that place of the kernel."""
    pixels = torch.eye(height * width).reshape(-1, 1, height, width)
    windows = F.unfold(pixels, math.isqrt(area), padding=math.isqrt(area) // 2)  # [q, k, p]
    return windows.permute(2, 1, 0)


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
