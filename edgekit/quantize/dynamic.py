"""Writes what computes with integers of each run's own range: the range is chosen in the graph, as the runtime chooses it."""

from __future__ import annotations

import operator
from dataclasses import replace

import torch
from torch.fx import GraphModule, Node

from edgekit.ops.quantization import decomposed
from edgekit.passes import _graph
from edgekit.passes._graph import add_call, add_constant, aten, shape
from edgekit.profiles import IntegerSupport
from edgekit.quantize.sites import Site

_LEAST, _LARGEST = -128, 127
_SMALLEST_SCALE = torch.finfo(torch.float32).eps


def computed(graph_module: GraphModule, site: Site, support: IntegerSupport) -> Site:
    """The site as the runtime computes it: a linear of rows, in place of a pointwise convolution or of a linear of images."""
    if site.is_linear_of(support):
        return _pointwise(graph_module, site)
    given = site.node.args[0]
    assert isinstance(given, Node)
    if site.operator == "linear" and len(shape(given)) > _ROWS_AXES:
        return _of_rows(site, given)
    return site


_ROWS_AXES = 3
"""The most of a linear's input: XNNPACK's partitioner loses the range of one with more."""


def _pointwise(graph_module: GraphModule, site: Site) -> Site:
    """[n, c, h, w] by way of [n, h w, c]."""
    node, weight = site.node, site.weight
    given, bias = node.args[0], _graph.argument(node, 2, "bias")
    assert weight is not None
    assert isinstance(given, Node)
    batch, channels, height, width = shape(given)
    matrix = weight.values.flatten(1)
    pixels = add_call(node, aten.reshape.default, given, [batch, channels, height * width])
    rows = add_call(node, aten.permute.default, pixels, [0, 2, 1])
    constant = add_constant(graph_module, node, str(weight.node.target), matrix)
    linear = add_call(node, aten.linear.default, rows, constant, bias)
    back = add_call(node, aten.permute.default, linear, [0, 2, 1])
    _graph.replace(node, add_call(node, aten.reshape.default, back, [batch, len(matrix), height, width]))
    return replace(site, node=linear, operator="linear", weight=replace(weight, node=constant, values=matrix))


def _of_rows(site: Site, given: Node) -> Site:
    """[n, ..., c] by way of [n, rows, c]."""
    node = site.node
    batch, *between, channels = shape(given)
    rows = add_call(node, aten.reshape.default, given, [batch, torch.Size(between).numel(), channels])
    linear = add_call(node, aten.linear.default, rows, *node.args[1:])
    _graph.replace(node, add_call(node, aten.reshape.default, linear, list(shape(node))))
    return replace(site, node=linear)


def write(site: Site, support: IntegerSupport) -> None:
    """Put between a site and what it reads the choice of a range, and the pair on it."""
    node, given = site.node, site.node.args[0]
    assert isinstance(given, Node)
    by_row = site.operator == "linear" and support.dynamic_range == "row"
    node.replace_input_with(given, _by_row(node, given) if by_row else _whole(node, given, support))


def _by_row(before: Node, given: Node) -> Node:
    chosen = add_call(before, decomposed.choose_qparams_per_token_asymmetric.default, given, torch.int8)
    grid = (*_scale_and_zero(before, chosen), _LEAST, _LARGEST, torch.int8)
    quantized = add_call(before, decomposed.quantize_per_token.default, given, *grid)
    return add_call(before, decomposed.dequantize_per_token.default, quantized, *grid, torch.float32)


def _whole(before: Node, given: Node, support: IntegerSupport) -> Node:
    ends = (0, 255, torch.uint8) if support.activation == "uint8" else (_LEAST, _LARGEST, torch.int8)
    least, largest, dtype = ends
    chosen = add_call(before, decomposed.choose_qparams.tensor, given, least, largest, _SMALLEST_SCALE, dtype)
    grid = (*_scale_and_zero(before, chosen), *ends)
    quantized = add_call(before, decomposed.quantize_per_tensor.tensor, given, *grid)
    return add_call(before, decomposed.dequantize_per_tensor.tensor, quantized, *grid)


def _scale_and_zero(before: Node, chosen: Node) -> tuple[Node, Node]:
    return add_call(before, operator.getitem, chosen, 0), add_call(before, operator.getitem, chosen, 1)
