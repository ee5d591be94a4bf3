"""ExecuTorch: a `.pte` program whose subgraphs are delegated to XNNPACK, the rest to portable kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from edgekit.errors import ConversionError
from edgekit.profiles import RuntimeProfile

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

    from edgekit.program import Program

PRECISIONS = ("fp32",)
DEVICE = "host"
REQUIRES = ("torch", "executorch.exir", "executorch.backends.xnnpack.partition.xnnpack_partitioner")

_INTEGERS_TOO = ("gelu.default", "hardswish.default", "leaky_relu.default", "sigmoid.default", "tanh.default")
"""What XNNPACK computes with int8, most of it from tables, though its partitioner takes it in floating point alone."""


def lower(program: Program, profile: RuntimeProfile, directory: Path) -> list[Path]:
    """Write `model.pte`. Raises ConversionError for integers that XNNPACK does not compute with."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with _as_meant():
        edge = to_edge_transform_and_lower(program.export(), partitioner=[XnnpackPartitioner(_taken())])
    _require_delegated(edge.exported_program().graph_module)
    path = directory / "model.pte"
    with path.open("wb") as stream:
        edge.to_executorch().write_to_file(stream)
    return [path]


@contextlib.contextmanager
def _as_meant() -> Iterator[None]:
    """Keep XNNPACK's lowering from three mistakes. It makes integers of every padding that reads a dequantized tensor: it means
    those before convolutions, and of the others comes a program that does not load, or that computes something else. It
    leaves a softmax in channels last where a convolution made its operand, in which XNNPACK, which takes the last axis as it
    lies, goes along the channels. And for a convolution of integers in ranges of each run's own it transposes not what that
    reads but what its subgraph began with, for all who read that."""
    from executorch.backends.xnnpack._passes.channels_last_tagged_reshape_pass import ChannelsLastTaggedReshapePass
    from executorch.backends.xnnpack._passes.insert_pad_qdq import InsertPadQDQPass
    from executorch.backends.xnnpack.utils.quant_utils import is_dynamic_qdq
    from executorch.exir.dialects._ops import ops
    from torch.fx.passes.infra.pass_base import PassResult

    in_order = {*ChannelsLastTaggedReshapePass.memory_sensitive_ops_nchw, ops.edge.aten._softmax.default}
    transpose = ChannelsLastTaggedReshapePass.input_to_nhwc

    def transpose_what_is_quantized(self: Any, graph_module: GraphModule, given: Node, reader: Node) -> None:
        if not is_dynamic_qdq(given):
            transpose(self, graph_module, given, reader)
        elif not self.is_nhwc_node(given):  # the pair takes its layout from what it quantizes
            quantize = given.all_input_nodes[0]
            (chosen,) = quantize.all_input_nodes[1].all_input_nodes
            for reads in (chosen, quantize):
                transpose(self, graph_module, reads.all_input_nodes[0], reads)

    with (
        mock.patch.object(InsertPadQDQPass, "call", lambda self, graph_module: PassResult(graph_module, False)),
        mock.patch.object(ChannelsLastTaggedReshapePass, "memory_sensitive_ops_nchw", in_order),
        mock.patch.object(ChannelsLastTaggedReshapePass, "input_to_nhwc", transpose_what_is_quantized),
    ):
        yield


def _taken() -> list[Any]:
    """What XNNPACK is given, an operator each."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType

    both = [ConfigPrecisionType.FP32, ConfigPrecisionType.STATIC_QUANT]

    def with_integers(config: Any) -> Any:
        return type(f"{config.__name__}WithIntegers", (config,), {"supported_precision_types": lambda self: both})

    return [
        with_integers(config) if config.target_name in _INTEGERS_TOO else config
        for config in ALL_PARTITIONER_CONFIGS
        # Not maxima: this partitioner takes all, its lowering then fails on those along channels or without `keepdim`.
        if config.target_name != "max.dim"
    ]


def _require_delegated(graph_module: GraphModule) -> None:
    """Raise ConversionError when integers are left outside: the partitioner marks the pairs around an operator as part of it
    before it refuses the operator, and what is delegated then computes something else."""
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and str(getattr(node.target, "namespace", "")) in ("quantized_decomposed", "torchao"):
            reader = next(iter(node.users), node)
            raise ConversionError(
                f"XNNPACK does not compute {reader.name} with integers",
                cause=f"its partitioner left {node.name} outside",
                next_step="leave that operator in floating point, in a plan (--quantize PLAN.yaml), and report the model",
            )
