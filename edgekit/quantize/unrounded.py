"""A quantized graph without the rounding of its activations: what the conversion of one is judged by.

Rounding makes a model jump: where a value lies between two integers, the last bit of a sum decides, and one integer more or
less spreads as far as quantization itself. No two programs of the same quantized model agree closer than that. Without it they
must agree to fp32's round-off, in everything that a converter can get wrong: weights, ranges, zero points, wiring.
"""

from __future__ import annotations

import copy

import torch
from torch.fx import GraphModule, Node

from edgekit.ops.quantization import decomposed
from edgekit.passes import _graph

_STATIC = (decomposed.quantize_per_tensor.default,)
_DYNAMIC = (decomposed.quantize_per_tensor.tensor, decomposed.quantize_per_token.default)


def unrounded(graph_module: GraphModule) -> GraphModule:
    """A copy in which each pair around an activation keeps it within its range, and leaves it where it is there, or multiplies
    it where the scales of the two differ; weights stay the integers that they are."""
    result = copy.deepcopy(graph_module, {id(t): t for t in [*graph_module.parameters(), *graph_module.buffers()]})
    for quantized in _graph.calls(result, *_STATIC, *_DYNAMIC):
        for dequantized in list(quantized.users):
            _graph.replace(dequantized, _within(quantized, dequantized))
    result.graph.eliminate_dead_code()
    result.recompile()
    return result


def rounds(graph_module: GraphModule) -> bool:
    """Whether the graph rounds any activation."""
    return bool(_graph.calls(graph_module, *_STATIC, *_DYNAMIC))


def _within(quantized: Node, before: Node) -> Node:
    given = quantized.args[0]
    assert isinstance(given, Node)
    if quantized.target in _DYNAMIC:
        return given  # each run's own range holds all of it
    scale, zero_point, least, largest, again = map(_number, (*quantized.args[1:5], before.args[1]))
    kept = _graph.add_call(
        before, torch.ops.aten.clamp.default, given, scale * (least - zero_point), scale * (largest - zero_point)
    )
    return kept if again == scale else _graph.add_call(before, torch.ops.aten.mul.Tensor, kept, again / scale)


def _number(argument: object) -> float:
    """An argument of a pair, which `insert` writes as a number."""
    assert isinstance(argument, (int, float))
    return argument
