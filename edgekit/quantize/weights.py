"""How each weight format is written into a graph: constants of few bits, and what makes floating point of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.errors import UsageError
from edgekit.ops.palette import from_palette
from edgekit.ops.quantization import decomposed
from edgekit.passes._graph import add_call, add_constant, constant
from edgekit.profiles import IntegerSupport
from edgekit.quantize import groups, palettes
from edgekit.quantize.plan import WeightFormat
from edgekit.quantize.sites import Weight
from edgekit.quiet import quiet

_LARGEST = 127
"""Of an int8 weight: -128 would make the grid asymmetric, and kernels that multiply pairs overflow."""


def stored(
    graph_module: GraphModule,
    before: Node,
    weight: Weight,
    form: WeightFormat,
    support: IntegerSupport,
    covariance: Tensor | None = None,
) -> Node:
    """The node that gives, before `before`, the weight as `form` keeps it. `covariance`, [channels, channels], is of what it is
    applied to, where that is known."""
    if form.kind == "int8" and form.group is None:
        return _by_channel(graph_module, before, weight, support)
    if form.kind in ("int4", "uint4") and form.group is not None:
        return _in_groups(graph_module, before, weight, form, support, covariance)
    if form.kind == "palette":
        return _by_palette(graph_module, before, weight, 2 ** (form.bits or 0), support)
    raise UsageError(f"no weight is stored as {form} yet", next_step="store it as int8")


def _by_channel(graph_module: GraphModule, before: Node, weight: Weight, support: IntegerSupport) -> Node:
    """int8, symmetric, a scale for each output channel."""
    axis = weight.output_axis
    scales = scales_of(weight.values, axis, support)
    along = [-1 if place == axis else 1 for place in range(weight.values.dim())]
    integers = (weight.values / scales.view(along)).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
    parts = {"int8": integers, "scales": scales, "zeros": torch.zeros_like(scales, dtype=torch.int64)}
    constants = _constants(graph_module, before, weight, parts)
    return add_call(before, decomposed.dequantize_per_channel.default, *constants, axis, -_LARGEST, _LARGEST, torch.int8)


def _in_groups(
    graph_module: GraphModule,
    before: Node,
    weight: Weight,
    form: WeightFormat,
    support: IntegerSupport,
    covariance: Tensor | None,
) -> Node:
    """Four bits, a scale (and a zero point, where they are unsigned) for each group of input channels of an output channel."""
    axis, size = weight.input_axis, form.group or 1
    if weight.values.shape[axis] % size:
        raise UsageError(
            f"the weight {weight.node.target} does not fall into groups of {size}",
            cause=f"it has {weight.values.shape[axis]} input channels",
            next_step="give it eight bits in the plan, or groups of another size",
        )
    with quiet():
        import torchao.quantization.quant_primitives  # noqa: F401  it registers the operator

    def keep(scales: Tensor) -> Tensor:
        return kept(scales.bfloat16().float(), support)  # XNNPACK has them so, of groups; no runtime loses by it

    parts = groups.of_four_bits(weight.values, axis, size, keep, symmetric=form.kind == "int4", covariance=covariance)
    integers, *others = _constants(graph_module, before, weight, parts)
    block = [size if place == axis else 1 for place in range(weight.values.dim())]
    dequantize = torch.ops.torchao.dequantize_affine.default
    return add_call(before, dequantize, integers, block, *others, torch.int8, *groups.FOUR_BITS)


def round_bias(graph_module: GraphModule, before: Node, bias: Node, scales: Tensor) -> None:
    """Let `before` add multiples of `scales` [channels]: a runtime adds its bias to sums of integers on that very grid. A bias
    that is no constant stays."""
    values = constant(graph_module, bias)
    if values is not None:
        rounded = (values / scales).round() * scales
        before.replace_input_with(bias, add_constant(graph_module, before, f"{bias.target}_rounded", rounded))


def _constants(graph_module: GraphModule, before: Node, weight: Weight, parts: dict[str, Tensor]) -> list[Node]:
    """The parts of a weight as constants, named after it."""
    hint = str(weight.node.target)
    return [add_constant(graph_module, before, f"{hint}_{part}", tensor) for part, tensor in parts.items()]


def scales_of(values: Tensor, axis: int, support: IntegerSupport) -> Tensor:
    """[channels along `axis`]: the largest magnitude of each over 127, as the runtime keeps it."""
    others = [place for place in range(values.dim()) if place != axis]
    return kept(values.abs().amax(others) / _LARGEST, support)


def kept(scales: Tensor, support: IntegerSupport) -> Tensor:
    """Scales as the runtime keeps them, and none so small that it may flush it to zero; one where there is next to nothing to
    scale."""
    dtype = getattr(torch, support.scale_dtype)
    some = torch.where(scales >= torch.finfo(torch.float32).tiny, scales, torch.ones_like(scales))
    return some.clamp(min=torch.finfo(dtype).tiny).to(dtype).float()


def _by_palette(graph_module: GraphModule, before: Node, weight: Weight, entries: int, support: IntegerSupport) -> Node:
    """Indices into a table of `entries` values, which the runtime keeps as its scales."""
    found = torch.from_numpy(palettes.palette_of(weight.values.numpy(), entries))
    palette = found.to(getattr(torch, support.scale_dtype)).float()
    indices = torch.from_numpy(palettes.nearest(weight.values.numpy(), palette.numpy()))
    constants = _constants(graph_module, before, weight, {"indices": indices, "palette": palette})
    return add_call(before, from_palette._opoverload, *constants)
