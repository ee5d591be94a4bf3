"""Convolutions and poolings that are said to leave the Neural Engine, or to be slow there."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.inspection import Place
from edgekit.inspection.lint import Graph, Rule, sources
from edgekit.runtimes.coreml_reference.package import Operation

CONVOLUTIONS = {"conv", "conv_transpose"}
POOLINGS = {"avg_pool", "max_pool", "l2_pool"}

_MAX_HEIGHT, _MAX_WIDTH = 29, 13
_LARGE_KERNEL = 9
_CORES = 4
_STRIDES = (3, 4, 6, 8, 9, 12, 16, 24, 32)
_BESIDE_TWO = (3, 4, 8, 9)


def _kernels(graph: Graph) -> Iterator[tuple[Operation, int, int]]:
    """Convolutions with the height and the width of their kernels."""
    for operation in graph.operations:
        shape = graph.shape(operation, "weight") if operation.operator in CONVOLUTIONS else ()
        if len(shape) in (3, 4):
            yield operation, (shape[-2] or 0) if len(shape) == 4 else 1, shape[-1] or 0


def _kernel(graph: Graph) -> Iterator[Place]:
    """Kernels more than 13 wide or 29 high."""
    for operation, height, width in _kernels(graph):
        if width > _MAX_WIDTH or height > _MAX_HEIGHT:
            yield graph.place(operation, f"kernel {height}x{width}")


def _kernel_cost(graph: Graph) -> Iterator[Place]:
    """Other kernels of 9 and more."""
    for operation, height, width in _kernels(graph):
        within = height <= _MAX_HEIGHT and width <= _MAX_WIDTH
        if within and max(height, width) >= _LARGE_KERNEL:
            yield graph.place(operation, f"kernel {height}x{width}")


def _stride(graph: Graph) -> Iterator[Place]:
    """Strides of a convolution that are not made of twos and threes, or large and unequal."""
    for operation in graph.operations:
        strides = graph.numbers(operation, "strides") if operation.operator in CONVOLUTIONS else ()
        low, high = (min(strides), max(strides)) if strides else (1, 1)
        good = high <= 2 or (low == high and high in _STRIDES) or (low == 2 and high in _BESIDE_TWO)
        if not good:
            yield graph.place(operation, f"strides {list(strides)}")


def _dilation(graph: Graph) -> Iterator[Place]:
    """Dilations of more than 3."""
    for operation in graph.operations:
        dilations = graph.numbers(operation, "dilations") if operation.operator in CONVOLUTIONS else ()
        if max(dilations, default=1) > 3:
            yield graph.place(operation, f"dilations {list(dilations)}")


def _groups(graph: Graph) -> Iterator[Place]:
    """Numbers of groups other than 1, 2, 4 or one for each channel."""
    for operation in graph.operations:
        groups = (graph.numbers(operation, "groups") or (1,))[0] if operation.operator in CONVOLUTIONS else 1
        shape = graph.shape(operation, "x")
        if groups > 1 and _CORES % groups and len(shape) > 1 and groups != shape[1]:
            yield graph.place(operation, f"{groups} groups of {(shape[1] or 0) // groups} channels")


def _pooling(graph: Graph) -> Iterator[Place]:
    """Poolings with a window of more than 13, or a stride other than 1, 2 or 4."""
    for operation in graph.operations:
        if operation.operator in POOLINGS:
            kernel, strides = graph.numbers(operation, "kernel_sizes"), graph.numbers(operation, "strides")
            if max(kernel, default=1) > _MAX_WIDTH or any(stride not in (1, 2, 4) for stride in strides):
                yield graph.place(operation, f"kernel {list(kernel)}, strides {list(strides)}")


RULES = (
    Rule(
        "ane-kernel",
        "warning",
        _kernel,
        "The M1's Neural Engine rejects them in fp16; A14 and newer ones take up to 16 in width.",
        (sources.GUIDE_SHAPES, sources.GUIDE_CAPABILITIES),
        "Compose it of smaller ones (a k1 and a k2 make k1 + k2 - 1), or a wide one of one row and one column where it is "
        "separable.",
    ),
    Rule(
        "ane-kernel-cost",
        "note",
        _kernel_cost,
        "Large kernels are expensive on the Neural Engine, most of all wide ones.",
        (sources.APPLE_RULES,),
        "Compose it of smaller ones: two of 5x5 cover what one of 9x9 does. This changes the model: train it again.",
    ),
    Rule(
        "ane-stride",
        "note",
        _stride,
        "Strides that factor into twos and threes map to the hardware; others are done in several steps.",
        (sources.APPLE_RULES, sources.GUIDE_SHAPES),
        "Equal strides of 4, 6, 8, 9, 12, 16, 24 or 32; beside a 2: 3, 4, 8 or 9.",
    ),
    Rule(
        "ane-dilation",
        "note",
        _dilation,
        "Large dilations are expensive on the Neural Engine.",
        (sources.APPLE_RULES, sources.HOLLANCE),
        "A chain of dilations of 2 and 3: three of 2 for one of 8. This changes the model: train it again.",
    ),
    Rule(
        "ane-groups",
        "note",
        _groups,
        "Groups that do not divide the M1's four cores lose the direct assignment of groups to cores, and run slower; "
        "depthwise ones have a path of their own.",
        (sources.GUIDE_SHAPES,),
        "Depthwise, or 2 or 4 groups; the pass `split_small_groups` writes groups of two channels as depthwise ones where "
        "the profile says small_groups: depthwise.",
    ),
    Rule(
        "ane-pooling",
        "note",
        _pooling,
        "Strides other than 2 and 4 have overhead; windows of more than 13 were seen off the Neural Engine in older systems.",
        (sources.APPLE_RULES, sources.HOLLANCE),
        "Pool in two steps; a mean over the whole map is reduce_mean.",
    ),
)
