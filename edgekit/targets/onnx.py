"""ONNX: PyTorch's exporter on the ExportedProgram, then onnxsim; opset as the device profile states."""

from __future__ import annotations

import collections
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ConversionError
from edgekit.profiles import RuntimeProfile

if TYPE_CHECKING:
    import onnx

    from edgekit.program import Program

PRECISIONS = ("fp32",)
DEVICE = "host"
REQUIRES = ("torch", "torch.onnx", "onnxscript", "onnx", "onnxsim", "onnxruntime")

NAME_SCOPES = "pkg.torch.onnx.name_scopes"
"""The note that PyTorch's exporter writes beside an operator: a list of the modules around it, and its own name."""

_MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


def lower(program: Program, profile: RuntimeProfile, directory: Path) -> list[Path]:
    """Write `model.onnx`. Raises ConversionError when onnxsim's own check finds that it changed the model."""
    import onnx
    import onnxsim
    import torch

    forward = program.functions["forward"]
    exported = torch.onnx.export(
        program.export(),
        (),
        input_names=list(forward.example_inputs),
        output_names=list(forward.output_names),
        opset_version=profile.opset,
        external_data=False,
        verbose=False,
    )
    assert exported is not None
    simplified, same = onnxsim.simplify(exported.model_proto)
    if not same:
        raise ConversionError("onnxsim changed what the model computes", next_step="report the model")
    simplified.producer_name = "edgekit"
    if _MICROSOFT in profile.domains:
        _join_silu(simplified)
    _keep_modules(exported.model_proto.graph, simplified.graph)
    for symbol in map(str, program.export().range_constraints):
        _call_batch(simplified.graph, symbol)
    onnx.checker.check_model(simplified, full_check=True)
    path = directory / "model.onnx"
    onnx.save(simplified, str(path))
    return [path]


def _keep_modules(exported: onnx.GraphProto, simplified: onnx.GraphProto) -> None:
    """Write back which module each operator is from: onnxsim drops what the exporter noted beside it."""
    scopes = {node.name: prop for node in exported.node for prop in node.metadata_props if prop.key == NAME_SCOPES}
    for node in simplified.node:
        if node.name in scopes:
            node.metadata_props.append(scopes[node.name])


def _join_silu(model: onnx.ModelProto) -> None:
    """Write SiLU of what was an integer as one operator. ONNX Runtime joins its sigmoid and product by itself elsewhere; of an
    integer it gives each of the two a conversion of its own first, and then finds no pair."""
    import onnx

    graph = model.graph
    converted = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    sigmoids = {node.output[0]: node for node in graph.node if node.op_type == "Sigmoid" and node.input[0] in converted}
    readers = collections.Counter(name for node in graph.node for name in node.input)
    joined = False
    for node in list(graph.node):
        gate = next((sigmoids[name] for name in node.input if name in sigmoids), None) if node.op_type == "Mul" else None
        if gate is None or gate.input[0] not in node.input or readers[gate.output[0]] != 1:
            continue
        silu = onnx.helper.make_node("QuickGelu", gate.input[:1], node.output, node.name, domain=_MICROSOFT, alpha=1.0)
        silu.metadata_props.extend(node.metadata_props)
        node.CopyFrom(silu)
        graph.node.remove(gate)
        joined = True
    if joined:
        model.opset_import.append(onnx.helper.make_opsetid(_MICROSOFT, 1))


def _call_batch(graph: onnx.GraphProto, symbol: str) -> None:
    """Write `batch` for `symbol` in the shapes that the graph states."""
    for tensor in (*graph.input, *graph.output, *graph.value_info):
        for size in tensor.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(rf"\b{symbol}\b", "batch", size.dim_param)
