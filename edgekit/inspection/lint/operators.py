"""Operators that are said to leave the Neural Engine."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.inspection import Place
from edgekit.inspection.lint import Graph, Rule, leaving, sizes, sources

GATHERS = {"gather", "gather_along_axis", "gather_nd"}

NOWHERE = {
    *("reduce_prod", "scatter", "scatter_along_axis", "scatter_nd", "mod", "one_hot", "non_zero", "band_part"),
    *("reverse_sequence", "shape", "sliding_windows", "logical_and", "logical_or", "logical_xor", "rnn"),
    *("tan", "asin", "acos", "sinh", "cosh", "asinh", "acosh", "atanh"),
    *("random_bernoulli", "random_categorical", "random_normal"),
    *("make_list", "list_gather", "list_length", "list_read", "list_scatter", "list_write"),
}
"""Operators without hardware in any Neural Engine (GUIDE_CAPABILITIES, CATALOG); recurrent ones are in the device profiles."""

SINCE = {
    **dict.fromkeys(("sin", "cos", "reduce_argmin"), "A15"),
    **dict.fromkeys(("crop_resize", "affine", "resample", "resize", "resize_bilinear", "resize_nearest_neighbor"), "A14"),
    **dict.fromkeys(("upsample_bilinear", "upsample_nearest_neighbor"), "A14"),
}
"""The first chip whose Neural Engine has the operator (CATALOG)."""

_MAX_ARGUMENT_AXIS = 2048


def _unsupported(graph: Graph) -> Iterator[Place]:
    """Operators without hardware in any Neural Engine, and those that the device profile says leave it."""
    off = NOWHERE | (leaving(graph.profile) - GATHERS)
    for operation in graph.operations:
        if operation.operator in off:
            yield graph.place(operation, f"{operation.operator} has no path on the Neural Engine")


def _gather(graph: Graph) -> Iterator[Place]:
    """Picking elements by indices, where the device profile says that this leaves the Neural Engine."""
    off = GATHERS if leaving(graph.profile) & GATHERS else set()
    for operation in graph.operations:
        if operation.operator in off:
            yield graph.place(operation, f"picks from {sizes(graph.shape(operation, 'x'))}")


def _sort(graph: Graph) -> Iterator[Place]:
    """The largest elements, or the order of all."""
    for operation in graph.operations:
        if operation.operator in ("topk", "argsort"):
            yield graph.place(operation, f"sorts {sizes(graph.shape(operation, 'x'))}")


def _argument(graph: Graph) -> Iterator[Place]:
    """The place of the largest or smallest of more than 2048 elements."""
    for operation in graph.operations:
        if operation.operator in ("reduce_argmax", "reduce_argmin"):
            shape = graph.shape(operation, "x")
            axis = (graph.numbers(operation, "axis") or (-1,))[0]
            if -len(shape) <= axis < len(shape) and (shape[axis] or 0) > _MAX_ARGUMENT_AXIS:
                yield graph.place(operation, f"over {shape[axis]} of {sizes(shape)}")


def _generation(graph: Graph) -> Iterator[Place]:
    """Operators that only newer Neural Engines have."""
    for operation in graph.operations:
        if since := SINCE.get(operation.operator):
            yield graph.place(operation, f"from {since} on")


RULES = (
    Rule(
        "ane-unsupported",
        "warning",
        _unsupported,
        "One such operator in the middle splits the model: what is before and after it runs on the Neural Engine, it on "
        "the CPU or GPU, with a transfer at each change; for small models the transfers cost most.",
        (sources.GUIDE_CAPABILITIES, sources.CATALOG, sources.RECURRENT, sources.APPLE_RULES),
        "Write masks as constants and combine them by products, minima and maxima; compare with a range instead of "
        "one_hot; concatenate or select instead of scattering; unroll recurrent cells; give shapes as constants.",
    ),
    Rule(
        "ane-gather",
        "warning",
        _gather,
        "Compute plans show gathers on the CPU; the first Neural Engines take them in a narrow form only, and reject others.",
        (sources.RF_DETR, sources.HOLLANCE, sources.GUIDE_CAPABILITIES),
        "The pass `join_gathers` makes one of several that read the same places, `channel_argmax_gather` replaces those "
        "by an argmax where a profile names aten.gather; look up embeddings outside the model; make gathers by constant "
        "indices slices.",
    ),
    Rule(
        "ane-sort",
        "warning",
        _sort,
        "A compute plan on an M3 Pro has topk, and what reads its indices, on the CPU; on an M1 sort does not compile, "
        "and topk not in every form.",
        (sources.RF_DETR, sources.GUIDE_SHAPES),
        "Give the scores out and pick the largest in the app.",
    ),
    Rule(
        "ane-argument-axis",
        "warning",
        _argument,
        "The Neural Engine's compiler takes at most 2048 elements along the axis, for fp16 counts no further exactly.",
        (sources.GUIDE_SHAPES,),
        "Give the scores out and take the argmax in the app, or take it in two steps over a factored axis.",
    ),
    Rule(
        "ane-generation",
        "note",
        _generation,
        "On iPhones with an older chip they run elsewhere, or as a slower and differently rounded stand-in.",
        (sources.CATALOG, sources.GUIDE_CAPABILITIES),
        "Resize by 2 with a transposed convolution, compute sines ahead as constants; or accept it for older phones.",
    ),
)
