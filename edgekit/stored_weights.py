"""What storing weights in fp16 does to a graph, apart from anything that computes with them.

An fp16 artifact holds rounded weights. To tell a wrong conversion from that rounding, the artifact computed in fp32 is
compared with the graph it was made from, its own weights rounded in the same way.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule


def rounded(graph_module: GraphModule) -> GraphModule:
    """A copy of the graph whose weights and numbers are rounded to fp16, and computed with in fp32.

    What fp16 cannot hold stays: converters have their own ways with it.
    """
    result = copy.deepcopy(graph_module)
    with torch.no_grad():
        for tensor in [*result.parameters(), *result.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(_rounded_tensor(tensor))
    for node in result.graph.nodes:
        if node.op == "call_function":
            node.args = torch.fx.node.map_aggregate(node.args, _rounded_number)
            node.kwargs = torch.fx.node.map_aggregate(node.kwargs, _rounded_number)
    result.recompile()
    return result


def _rounded_tensor(tensor: Tensor) -> Tensor:
    half = tensor.half().to(tensor.dtype)
    return torch.where(half.isfinite(), half, tensor)


def _rounded_number(value: Any) -> Any:
    return float(_rounded_tensor(torch.tensor(value))) if isinstance(value, float) else value
