"""Shapes that are said to keep a tensor off the Neural Engine, or to cost memory and time there."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgekit.inspection import Place
from edgekit.inspection.lint import Graph, Rule, size_bytes, sizes, sources

ELEMENTWISE = {"add", "sub", "mul", "real_div", "maximum", "minimum", "pow", "select", "equal", "less", "greater"}
_LIMITED = {"matmul", "linear", "conv", "conv_transpose"}
"""Operators that the Neural Engine has for fewer than five axes."""

_MAX_SIDE, _MAX_CHANNELS = 16384, 65536
_PADDED_BYTES = 64
_WORKING_SET_BYTES = 2 << 20
_ONE_GB = 10**9


def _dynamic(graph: Graph) -> Iterator[Place]:
    """Inputs whose shape is open within a range."""
    for name, declared in graph.function.inputs.items():
        choices = graph.function.choices.get(name, ())
        listed = choices and all(len(sizes) == 1 for axes in choices for sizes in axes)
        if (declared.any_rank or None in declared.shape) and not listed:
            yield Place("input", name, "", f"{sizes(declared.shape)}, ? is open")


def _rank(graph: Graph) -> Iterator[Place]:
    """Products of matrices and convolutions of tensors of five axes; any tensor of more."""
    for operation in graph.operations:
        ranks = [
            len(graph.types[name].shape)
            for name in [*graph.read(operation, "x", "y"), *[name for name, _ in operation.outputs]]
        ]
        limited = operation.operator in _LIMITED
        if any(rank > 5 or (rank == 5 and limited) for rank in ranks):
            yield graph.place(operation, f"rank {max(ranks)}, results {sizes(operation.outputs[0][1].shape)}")


def _rank_five(graph: Graph) -> Iterator[Place]:
    """Other tensors of five axes."""
    for operation in graph.operations:
        if operation.operator not in _LIMITED and any(len(t.shape) == 5 for _, t in operation.outputs):
            yield graph.place(operation, sizes(operation.outputs[0][1].shape))


def _broadcast(graph: Graph) -> Iterator[Place]:
    """Elementwise operators that repeat one operand along the second of five axes."""
    for operation in graph.operations:
        result = operation.outputs[0][1].shape if operation.outputs else ()
        if operation.operator not in ELEMENTWISE or len(result) != 5 or result[1] == 1:
            continue
        given = [graph.shape(operation, parameter) for parameter in ("x", "y", "a", "b")]
        if any(len(shape) == 5 and shape[1] == 1 for shape in given):
            yield graph.place(operation, " with ".join(sizes(shape) for shape in given if shape))


def _huge(graph: Graph) -> Iterator[Place]:
    """Tensors of more than 16384 along one of the last two axes, or 65536 along another."""
    for operation in graph.operations:
        for _, declared in operation.outputs:
            sides, others = declared.shape[-2:], declared.shape[:-2]
            if max((s or 0 for s in sides), default=0) > _MAX_SIDE or max((s or 0 for s in others), default=0) > _MAX_CHANNELS:
                yield graph.place(operation, sizes(declared.shape))


def _last_axis(graph: Graph) -> Iterator[Place]:
    """Results whose last axis is 1."""
    for operation in graph.operations:
        for name, declared in operation.outputs:
            size = size_bytes(declared)
            if size and len(declared.shape) > 1 and declared.shape[-1] == 1 and math.prod(s or 1 for s in declared.shape) > 1:
                rows = math.prod(s or 1 for s in declared.shape[:-1])
                padded = rows * _PADDED_BYTES
                yield graph.place(operation, f"{name} {sizes(declared.shape)}: {size} bytes become {padded}")


def _working_set(graph: Graph) -> Iterator[Place]:
    """Results of more than 2 MB."""
    found = []
    for operation in graph.operations:
        size = max((size_bytes(declared) or 0 for _, declared in operation.outputs), default=0)
        if size > _WORKING_SET_BYTES:
            found.append((size, operation))
    for size, operation in sorted(found, key=lambda pair: -pair[0]):
        yield graph.place(operation, f"{sizes(operation.outputs[0][1].shape)}, {size / 1e6:.1f} MB")


def _copies(graph: Graph) -> Iterator[Place]:
    """Transposes and reshapes that change the last axis."""
    for operation in graph.operations:
        before, after = graph.shape(operation, "x"), operation.outputs[0][1].shape if operation.outputs else ()
        if operation.operator == "transpose":
            order = graph.numbers(operation, "perm")
            touched = bool(order) and order[-1] % len(order) != len(order) - 1
        else:
            touched = operation.operator == "reshape" and bool(before) and bool(after) and before[-1] != after[-1]
        if touched:
            yield graph.place(operation, f"{sizes(before)} to {sizes(after)}")


def _linear(graph: Graph) -> Iterator[Place]:
    """Linear layers that are not 1x1 convolutions."""
    for operation in graph.operations:
        if operation.operator == "linear":
            yield graph.place(operation, f"{sizes(graph.shape(operation, 'x'))} to {sizes(operation.outputs[0][1].shape)}")


def _padding(graph: Graph) -> Iterator[Place]:
    """Padding of other axes than the last two, or by reflection."""
    for operation in graph.operations:
        if operation.operator == "pad":
            amounts, rank = graph.numbers(operation, "pad"), len(graph.shape(operation, "x"))
            padded = [rank - len(amounts) // 2 + index // 2 for index, amount in enumerate(amounts) if amount]
            mode = graph.constant(operation, "mode") or "constant"
            if rank and min(padded, default=rank) < rank - 2:
                yield graph.place(operation, f"axis {min(padded)} of {sizes(graph.shape(operation, 'x'))}")
            elif mode == "reflect":
                yield graph.place(operation, "mode reflect, from A14 on")


def _model_size(graph: Graph) -> Iterator[Place]:
    """Weights of more than 1 GB."""
    if graph.stored_bytes > _ONE_GB:
        yield Place("program", graph.function.name, "", f"its weights take {graph.stored_bytes / 1e9:.2f} GB")


RULES = (
    Rule(
        "ane-dynamic-shape",
        "warning",
        _dynamic,
        "The Neural Engine runs fully static programs: with a range, only the default shape runs there, the others on the "
        "CPU or GPU.",
        (sources.APPLE_RULES, sources.DYNAMIC_FORUM, sources.FAQ, sources.FLEXIBLE_INPUTS),
        "Export once for each shape, or convert with coremltools.EnumeratedShapes; from iOS 17.4, load with the hint "
        "reshapeFrequency infrequent.",
    ),
    Rule(
        "ane-rank",
        "warning",
        _rank,
        "The Neural Engine's compiler rejects linear layers and products of matrices with five axes, and lowers no 3D "
        "convolution; Core ML itself takes no tensor of more than five.",
        (sources.GUIDE_CAPABILITIES, sources.GUIDE_SHAPES, sources.RANK),
        "The pass `flatten_matmul` (where a profile says flat_matmul) gives products one batch axis, `limit_rank` brings "
        "tensors below the profile's max_rank; a 3D convolution can be several of two dimensions.",
    ),
    Rule(
        "ane-broadcast",
        "warning",
        _broadcast,
        "The second of five axes is the Neural Engine's depth; broadcasting along it is not supported on the M1's and "
        "older ones.",
        (sources.GUIDE_SHAPES,),
        "Write it with four axes: fold the repeated axis into the batch or the channels.",
    ),
    Rule(
        "huge-dimension",
        "warning",
        _huge,
        "No Neural Engine before the A16's takes more along width and height, and none more along the channels.",
        (sources.GUIDE_SHAPES, sources.GUIDE_CAPABILITIES),
        "Factor the axis in two (16 x 4096 instead of 65536), tile the image, or split the table or the layer that makes it.",
    ),
    Rule(
        "ane-model-size",
        "warning",
        _model_size,
        "A model that is to run on an iPhone's Neural Engine cannot be larger than 1 GB.",
        (sources.BISECT_MODEL,),
        "Split it with coremltools.models.utils.bisect_model, or compress its weights.",
    ),
    Rule(
        "ane-pad",
        "warning",
        _padding,
        "The Neural Engine pads height and width alone; reflection needs the A14's or a newer one.",
        (sources.GUIDE_SHAPES,),
        "Pad width and height; concatenate zeros along other axes, or let the convolution pad.",
    ),
    Rule(
        "ane-last-axis",
        "note",
        _last_axis,
        "The last axis is padded to 64 bytes: 32 times the memory where it is 1 in fp16. It matters for inputs, outputs "
        "and large tensors; small ones may stay in the cache as they are.",
        (sources.APPLE_RULES, sources.GUIDE_SHAPES),
        "Keep a long axis last: tokens as (batch, channels, 1, tokens), which the pass `channels_first` writes for token "
        "models.",
    ),
    Rule(
        "ane-rank-5",
        "note",
        _rank_five,
        "Five axes are the limit, and the Neural Engine's transforms work on the last four; Apple's own models keep to four.",
        (sources.APPLE_RULES, sources.GUIDE_CAPABILITIES),
        "Where it comes from GroupNorm, `group_norm: decomposed` in the device profile lets the pass `lower_group_norm` "
        "write it with four; `sink_views` removes views between convolutions; else fold an axis into its neighbour before "
        "the operator.",
    ),
    Rule(
        "ane-working-set",
        "note",
        _working_set,
        "What does not fit the Neural Engine's 2 MB of working memory is cut into tiles that stream from the main memory: "
        "right, but slower.",
        (sources.GUIDE_SHAPES,),
        "A smaller input or an earlier stride; nothing needs to be done where it is fast enough.",
    ),
    Rule(
        "ane-copies",
        "note",
        _copies,
        "A reshape or a transpose that touches the innermost axis rewrites the tensor in memory.",
        (sources.APPLE_RULES,),
        "The passes `sink_views`, `channels_first`, `limit_rank` and `remove_noops` take out what they can; `edgekit "
        "export --explain` says what they left and why. In the model: stay in (batch, channels, height, width).",
    ),
    Rule(
        "ane-linear",
        "note",
        _linear,
        "The Neural Engine computes convolutions; linear layers are decomposed, and may fall back to the CPU.",
        (sources.APPLE_RULES,),
        "The pass `channels_first` makes the linear layers of token models 1x1 convolutions; one small layer at the end "
        "costs little.",
    ),
)
