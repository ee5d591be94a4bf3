"""`edgekit::ska` becomes shifts and products: the input is padded once, and each of the K*K shifted windows is multiplied by
its kernel entry and added up. No im2col and no gather; rank 4 for one image, rank 5 for a batch.

Channel c uses kernel c mod G, so [C] is read as [C/G, G] and the kernels broadcast over the first.
"""

from __future__ import annotations

import math
import operator

import torch
from torch.fx import Node

from edgekit.ops.ska import shifts
from edgekit.passes import Changes, Refusal
from edgekit.passes._graph import add_call, aten, calls, replace, shape, where
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program


def apply(program: Program, profile: RuntimeProfile) -> Changes:
    """Lower every SKA to operators that all targets have."""
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
    margin = math.isqrt(area) // 2
    blocks = [channels // groups, groups] if batch == 1 else [batch, channels // groups, groups]
    padded = add_call(node, aten.pad.default, x, [margin] * 4)
    padded = add_call(node, aten.view.default, padded, [*blocks, height + 2 * margin, width + 2 * margin])
    rows, columns = len(blocks), len(blocks) + 1
    kernels = add_call(node, aten.split.Tensor, w, 1, 2)
    total = None
    for k, row, column in shifts(area):
        window = add_call(node, aten.slice.Tensor, padded, rows, row, row + height)
        window = add_call(node, aten.slice.Tensor, window, columns, column, column + width)
        kernel = add_call(node, operator.getitem, kernels, k)
        kernel = add_call(node, aten.view.default, kernel, [batch, *([1] * (len(blocks) == 3)), groups, height, width])
        product = add_call(node, aten.mul.Tensor, window, kernel)
        total = product if total is None else add_call(node, aten.add.Tensor, total, product)
    assert total is not None
    return add_call(node, aten.view.default, total, [batch, channels, height, width])
