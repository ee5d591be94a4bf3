"""Core ML: an mlprogram package for the profile's oldest iOS, in fp16 or fp32. Converts on Linux and macOS alike."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError
from edgekit.profiles import RuntimeProfile

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

    from edgekit.program import Program

PRECISIONS = ("fp16", "fp32")
DEVICE = "iphone"
REQUIRES = ("torch", "coremltools")


def lower(program: Program, profile: RuntimeProfile, directory: Path) -> list[Path]:
    """Write `model.mlpackage`. Whatever it computes in, its inputs and outputs are float32, or int32 for whole numbers and
    truth values, and of rank 1 at least: what Core ML passes between an app and a model.

    Raises ConversionError for names that Core ML does not keep, and, naming the operator and its line, for tensors of more axes
    than it takes.
    """
    import coremltools

    _register_operators()
    forward = program.functions["forward"]
    _check_names([*forward.example_inputs, *forward.output_names])
    exported, inputs = converted(program)
    outputs = [node.meta["val"] for node in exported.graph.output_node().args[0]]
    compute = coremltools.precision.FLOAT16 if program.precision == "fp16" else coremltools.precision.FLOAT32
    pipeline = coremltools.PassPipeline()
    # The first writes an epsilon of 1e-5 beside a variance of 1: five parts in a million a layer, 20 dB over LSNet. The second
    # divides the scales around a sum of integers by one of them, and so rounds them to fp16 again.
    unwanted = ("fuse_elementwise_to_batchnorm", "distributive_quantized_binary_op_scale_normalization")
    pipeline.remove_passes({f"common::{name}" for name in unwanted})
    try:
        model = coremltools.convert(
            exported,
            inputs=[
                coremltools.TensorType(name=name, shape=tuple(tensor.shape), dtype=_dtype(tensor))
                for name, tensor in zip(forward.example_inputs, inputs, strict=True)
            ],
            outputs=[
                coremltools.TensorType(name=name, dtype=_dtype(tensor))
                for name, tensor in zip(forward.output_names, outputs, strict=True)
            ],
            convert_to="mlprogram",
            minimum_deployment_target=coremltools.target[profile.minimum_os or "iOS17"],
            compute_precision=compute,
            pass_pipeline=pipeline,
            skip_model_load=True,
        )
    except ValueError as error:
        if "rank" not in str(error):
            raise
        raise _too_many_axes(program, profile, error) from error
    path = directory / "model.mlpackage"
    model.save(str(path))
    return [path]


def converted(program: Program) -> tuple[ExportedProgram, list[torch.Tensor]]:
    """The graph that coremltools reads, after whose nodes it names most operations, and example inputs for it."""
    exported, inputs = _with_borders(program.export(), list(program.functions["forward"].example_inputs.values()))
    return exported.run_decompositions({}), inputs


def _check_names(names: Iterable[str]) -> None:
    """coremltools writes other names into the package, which nobody would find their tensors by."""
    for name in names:
        if not re.fullmatch(r"[a-zA-Z_]\w*", name, re.ASCII):
            raise ConversionError(
                f"Core ML takes no input or output named {name!r}",
                cause="its names are ASCII letters, digits and underscores, no digit first",
                next_step="rename that argument of forward, or that output, in the model",
            )


@functools.cache
def _register_operators() -> None:
    """Teach coremltools the operators of compressed weights, each named after the constant that it reads: it has no translation
    for palettes, takes matrices alone in groups, and names the others by number."""
    from coremltools.converters.mil import Builder, register_torch_op
    from coremltools.converters.mil.frontend import _utils
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs
    from coremltools.converters.mil.mil import types

    def from_palette(context: Any, node: Any) -> None:
        indices, palette = (given.val for given in _get_inputs(context, node, expected=2))
        table = palette.reshape(*(1 for _ in indices.shape), -1, 1)
        context.add(_utils._construct_constexpr_lut_op(indices, table, name=node.inputs[0]), node.name)

    def dequantize_per_channel(context: Any, node: Any) -> None:
        integers, scales, zeros, axis = (given.val for given in _get_inputs(context, node, min_expected=4)[:4])
        offsets = zeros.astype(integers.dtype)
        made = _utils._construct_constexpr_dequant_op(integers, offsets, scales, axis=axis, name=node.inputs[0])
        context.add(made, node.name)

    def dequantize_affine(context: Any, node: Any) -> None:
        integers, _, scales, zeros, _, least, largest, *_ = _get_inputs(context, node, min_expected=7)
        width = int(largest.val - least.val).bit_length()
        kind = types.nptype_from_builtin(types.string_to_builtin(f"{'u' if least.val == 0 else ''}int{width}"))
        shifted = zeros is not None and zeros.val is not None and zeros.val.any()
        offset = {"offset": zeros.val.reshape(scales.val.shape).astype(kind)} if shifted else {}
        data = integers.val.astype(kind)
        made = Builder.constexpr_blockwise_shift_scale(data=data, scale=scales.val, name=node.inputs[0], **offset)
        context.add(made, node.name)

    register_torch_op(from_palette, torch_alias=["edgekit::from_palette"])
    register_torch_op(dequantize_per_channel, torch_alias=["quantized_decomposed::dequantize_per_channel"], override=True)
    register_torch_op(dequantize_affine, torch_alias=["torchao::dequantize_affine"], override=True)


def _too_many_axes(program: Program, profile: RuntimeProfile, error: ValueError) -> ConversionError:
    """What to tell of a tensor whose rank coremltools refuses: where it is from, and why its rank was left."""
    from edgekit.passes import limit_rank

    graph = program.functions["forward"].graph_module.graph
    lines = {node.name: (node.meta.get("stack_trace") or "").splitlines() for node in graph.nodes}
    left = limit_rank.apply(program, profile).refusals
    reasons = [f"{refusal.node}: {refusal.reason}" for refusal in left]
    at = [line.strip() for refusal in left for line in lines.get(refusal.node.split()[0], [])[-2:]]
    return ConversionError(
        f"Core ML takes no tensor of more than {profile.max_rank} axes",
        cause=" ".join([*reasons[:1], *([f"(at {' '.join(at[:2])})"] if at else [])]) or str(error),
        next_step="write that line with fewer axes at once" if left else "let the pass limit_rank run (leave --passes out)",
    )


def _dtype(tensor: torch.Tensor) -> Any:
    import numpy as np

    return np.float32 if tensor.is_floating_point() else np.int32


def _with_borders(exported: ExportedProgram, inputs: list[torch.Tensor]) -> tuple[ExportedProgram, list[torch.Tensor]]:
    """The program, and inputs for it, with tensors at its borders that Core ML has there: truth values as numbers, numbers
    of rank 0 as rank 1, and a copy of what is an input or another output too."""
    import torch

    inner = exported.module(check_guards=False)

    class Bordered(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
            with torch.fx.traceback.preserve_node_meta():  # by node, so that each keeps its module and its line
                graph = torch.fx.Interpreter(self.inner)
                outputs = graph.run(*(_inside(tensor, like) for tensor, like in zip(given, inputs, strict=True)))
            # The converter removes plain copies.
            copied = (torch.maximum(o, o) if place in passed else o for place, o in enumerate(map(_outside, outputs)))
            return tuple(copied)

    made = exported.graph.output_node().args[0]
    passed = [place for place, node in enumerate(made) if node.op == "placeholder" or node in made[:place]]
    tensors = [*inputs, *(node.meta["val"] for node in made)]
    if not passed and all(tensor.dim() and tensor.dtype != torch.bool for tensor in tensors):
        return exported, inputs
    outside = [_outside(tensor) for tensor in inputs]
    with torch.no_grad():
        return torch.export.export(Bordered(), tuple(outside)), outside


def _outside(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    numbers = tensor.to(torch.int32) if tensor.dtype == torch.bool else tensor
    return numbers if numbers.dim() else numbers.reshape(1)


def _inside(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    import torch

    truth = tensor != 0 if like.dtype == torch.bool else tensor
    return truth if like.dim() else truth.squeeze(0)
