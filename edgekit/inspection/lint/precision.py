"""Types and numbers that keep a program off the Neural Engine, or come out wrong there in fp16."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.inspection import Place
from edgekit.inspection.lint import Graph, Rule, sizes, sources
from edgekit.runtimes.coreml_reference.package import Operation

_FP16_MAX = 65504.0
_FP16_SMALLEST_NORMAL = 2.0**-14
_SATURATED_SLICE = 4094

_WHOLE_ARITHMETIC = {
    *("add", "sub", "mul", "floor_div", "real_div", "mod", "pow", "maximum", "minimum", "abs", "square", "sign", "clip"),
    *("cumsum", "reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "range_1d"),
}
_BORDER = {"cast", "identity"}
_WIDE = {"int32", "uint32", "int64"}


def _fp32_compute(graph: Graph) -> Iterator[Place]:
    """Operators whose results are fp32, casts apart."""
    for operation in graph.operations:
        if operation.operator not in _BORDER and any(declared.dtype == "fp32" for _, declared in operation.outputs):
            constants = [p for p, given in operation.arguments.items() if given and _is_fp32_constant(graph, operation, p)]
            yield graph.place(operation, f"fp32, with fp32 constants for {', '.join(constants)}" if constants else "fp32")


def _fp32_constant(graph: Graph) -> Iterator[Place]:
    """Constants stored in fp32 that a program of fp16 casts when it runs."""
    for operation in graph.operations:
        if operation.operator == "cast" and _is_fp32_constant(graph, operation, "x"):
            yield graph.place(operation, f"an fp32 constant of {sizes(np.shape(graph.constant(operation, 'x')))}")


def _whole_numbers(graph: Graph) -> Iterator[Place]:
    """Arithmetic on whole numbers of 32 bits, and casts to them."""
    for operation in graph.operations:
        whole = [declared.dtype for _, declared in operation.outputs if declared.dtype in _WIDE]
        if whole and operation.operator in _WHOLE_ARITHMETIC | _BORDER:
            yield graph.place(operation, f"{whole[0]} {sizes(operation.outputs[0][1].shape)}")


def _infinite_mask(graph: Graph) -> Iterator[Place]:
    """Constants that are infinite, or beyond what fp16 holds, where fp16 is computed with."""
    for operation in graph.operations:
        # the bounds of a clip and what a maximum is padded with are not computed with
        parameters = set(operation.arguments) - {"constant_val"} if operation.operator != "clip" else {"x"}
        for parameter in sorted(parameters) if _is_fp16(operation) else ():
            value = graph.constant(operation, parameter)
            if value is None or isinstance(value, str) or value.dtype.kind != "f" or not value.size:
                continue
            low, high = value.min(), value.max()
            if not (low >= -_FP16_MAX and high <= _FP16_MAX):
                beyond = int(np.count_nonzero(~(np.abs(value) <= _FP16_MAX)))
                worst = low if -low > high else high
                yield graph.place(operation, f"{parameter} holds {worst:g}, {beyond} of {value.size}")


def _softplus(graph: Graph) -> Iterator[Place]:
    """Softplus, and Mish, which is made of it, in fp16."""
    for operation in graph.operations:
        if operation.operator in ("softplus", "softplus_parametric") and _is_fp16(operation):
            yield graph.place(operation, sizes(operation.outputs[0][1].shape))


def _logarithm(graph: Graph) -> Iterator[Place]:
    """The logarithm of a softmax, or of a cumulative sum of exponentials, in fp16."""
    makers = {name: operation.operator for operation in graph.operations for name, _ in operation.outputs}
    for operation in graph.operations:
        before = {makers.get(name) for name in graph.read(operation, "x")} & {"softmax", "cumsum"}
        if operation.operator == "log" and before and _is_fp16(operation):
            yield graph.place(operation, f"of a {before.pop()}")


def _subnormal(graph: Graph) -> Iterator[Place]:
    """Single numbers below the smallest that fp16 holds in full, 6.1e-05."""
    for operation in graph.operations:
        for parameter in operation.arguments:
            value = graph.constant(operation, parameter)
            if value is None or isinstance(value, str) or value.size != 1 or not _is_fp16(operation):
                continue
            number = abs(float(value.reshape(-1)[0])) if value.dtype.kind == "f" else 0.0
            if 0 < number < _FP16_SMALLEST_NORMAL:
                yield graph.place(operation, f"{parameter} is {number:.2g}")


def _width_slice(graph: Graph) -> Iterator[Place]:
    """Slices of the last axis that do not begin at its start."""
    for operation in graph.operations:
        begin = graph.numbers(operation, "begin") if operation.operator in ("slice_by_index", "slice_by_size") else ()
        masked = (graph.numbers(operation, "begin_mask") or (0,))[-1]
        if begin and begin[-1] != 0 and not masked and len(begin) > 1:
            yield graph.place(operation, f"from {begin[-1]} of {sizes(graph.shape(operation, 'x'))}")


def _is_fp16(operation: Operation) -> bool:
    return any(declared.dtype == "fp16" for _, declared in operation.outputs)


def _is_fp32_constant(graph: Graph, operation: Operation, parameter: str) -> bool:
    value = graph.constant(operation, parameter)
    return value is not None and not isinstance(value, str) and value.dtype == np.float32


RULES = (
    Rule(
        "inf-mask",
        "error",
        _infinite_mask,
        "In fp16 numbers beyond 65504 are infinite, and the Neural Engine does not handle -inf right in softmax: a row "
        "that is all masked comes out as NaN, without an error.",
        (sources.APPLE_RULES, sources.SENTINEL, sources.GUIDE_NUMERICS),
        "Mask with -40000 (Apple's value) instead of -inf or torch.finfo(torch.float32).min.",
    ),
    Rule(
        "fp16-softplus",
        "error",
        _softplus,
        "On the Neural Engine softplus drops to 0 for inputs above 10.4.",
        (sources.SOFTPLUS, sources.MISH, sources.GUIDE_NUMERICS),
        "Write it as relu(x) + log(1 + exp(-abs(x))), whose exponential stays below 1; or use another activation.",
    ),
    Rule(
        "fp16-log",
        "error",
        _logarithm,
        "Probabilities below 6e-08 are 0 in fp16, and their logarithm is -inf; exponentials of more than 11 are infinite.",
        (sources.LOG_SOFTMAX, sources.LOGCUMSUMEXP),
        "Give the logits out and take log_softmax in the app, or write it as x - max(x) - log(sum(exp(x - max(x)))).",
    ),
    Rule(
        "fp32-compute",
        "warning",
        _fp32_compute,
        "Types are the least precision that Core ML uses: what is typed fp32 runs on the CPU or GPU, never on the Neural "
        "Engine.",
        (sources.TYPED_EXECUTION, sources.APPLE_RULES),
        "Export with --precision fp16; where that is not enough, the export names the operator that first loses it.",
    ),
    Rule(
        "fp32-constant",
        "warning",
        _fp32_constant,
        "The cast from fp32 runs on the CPU or GPU each time, and the constant takes twice the memory.",
        (sources.APPLE_RULES, sources.TYPED_EXECUTION),
        "Store the constant in fp16; the pass `fold_constants` computes what depends on constants alone ahead.",
    ),
    Rule(
        "int32-arithmetic",
        "warning",
        _whole_numbers,
        "The Neural Engine computes in fp16: whole numbers of 32 bits do not reach it, and an M1's rejects a cast to them.",
        (sources.GUIDE_CAPABILITIES, sources.GUIDE_SHAPES, sources.APPLE_RULES),
        "Compute positions ahead as constants; do arithmetic on indices in the app, or in floats below 2048, which fp16 "
        "counts exactly.",
    ),
    Rule(
        "ane-width-slice",
        "note",
        _width_slice,
        "On A13 and A14 (M1) such a slice multiplies by 16 in between: values above 4094 become infinite. A15 and newer "
        "do not.",
        (sources.GUIDE_NUMERICS, sources.GUIDE_PITFALLS, sources.CATALOG),
        "Nothing where values stay below 4094 (`edgekit verify` tells ranges where fp16 loses); else slice another axis.",
    ),
    Rule(
        "fp16-subnormal",
        "note",
        _subnormal,
        "Below 6.1e-05 fp16 has fewer digits the smaller the number, and the Neural Engine's sums of products (M1) take "
        "it for 0.",
        (sources.HOLLANCE_16_BIT, sources.GUIDE_NUMERICS),
        "A larger epsilon (1e-04 or more) where the model allows it; `edgekit verify` says whether it matters.",
    ),
)
