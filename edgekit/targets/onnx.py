"""ONNX: PyTorch's exporter on the ExportedProgram, then onnxsim; opset as the device profile states."""

from __future__ import annotations

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


def lower(program: Program, profile: RuntimeProfile, directory: Path) -> list[Path]:
    """Write `model.onnx`. Raises ConversionError when onnxsim's own check finds that it changed the model."""
    import onnx
    import onnxsim
    import torch

    from edgekit.targets import _onnx_integers

    forward = program.functions["forward"]
    exported = torch.onnx.export(
        program.export(),
        (),
        input_names=list(forward.example_inputs),
        output_names=list(forward.output_names),
        opset_version=_onnx_integers.opset(forward.graph_module, profile.opset),
        custom_translation_table=_onnx_integers.translations(),
        external_data=False,
        verbose=False,
    )
    assert exported is not None
    simplified, same = onnxsim.simplify(exported.model_proto)
    if not same:
        raise ConversionError("onnxsim changed what the model computes", next_step="report the model")
    simplified.producer_name = "edgekit"
    _onnx_integers.settle(simplified, profile)
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


def _call_batch(graph: onnx.GraphProto, symbol: str) -> None:
    """Write `batch` for `symbol` in the shapes that the graph states."""
    for tensor in (*graph.input, *graph.output, *graph.value_info):
        for size in tensor.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(rf"\b{symbol}\b", "batch", size.dim_param)
