"""What the ONNX target does for quantized graphs: it writes their operators in the form in which ONNX Runtime knows them."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    from torch.fx import GraphModule

    from edgekit.profiles import RuntimeProfile

_MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
_FOUR_BITS_OPSET = 21
"""The first with integers of four bits, and scales for groups."""


def opset(graph_module: GraphModule, usual: int | None) -> int | None:
    """The opset to write a graph in: `usual`, unless it has weights in groups."""
    grouped = any("dequantize_affine" in str(node.target) for node in graph_module.graph.nodes)
    return max(usual or 0, _FOUR_BITS_OPSET) if grouped else usual


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """How the operators of a quantized graph are written of which PyTorch's exporter knows nothing; and GroupNorm, which from
    opset 21 on it writes as an operator for which ONNX Runtime has no kernel."""
    import torch
    import torchao.quantization.quant_primitives  # noqa: F401  it registers the operator
    from onnxscript import opset18, opset21
    from onnxscript.function_libs.torch_lib.ops.nn import aten_group_norm

    import edgekit.ops.quantization  # noqa: F401  likewise

    def in_groups(
        integers: Any,
        block_size: Sequence[int],
        scales: Any,
        zeros: Any = None,
        input_dtype: int | None = None,
        quant_min: int | None = None,
        quant_max: int | None = None,
        output_dtype: int | None = None,
    ) -> Any:
        axis, size = next((axis, size) for axis, size in enumerate(block_size) if size != 1)
        return opset21.DequantizeLinear(integers, scales, zeros, axis=axis, block_size=size)

    def choose(given: Any, least: int, largest: int, smallest: float, dtype: int) -> Any:
        _, scale, zero = opset18.DynamicQuantizeLinear(given)
        return scale, zero

    def quantize(given: Any, scale: Any, zero: Any, least: int, largest: int, dtype: int) -> Any:
        return opset18.QuantizeLinear(given, scale, zero)

    def dequantize(
        given: Any, scale: Any, zero: Any, least: int, largest: int, dtype: int, out_dtype: int | None = None
    ) -> Any:
        return opset18.DequantizeLinear(given, scale, zero)

    decomposed = torch.ops.quantized_decomposed
    return {
        torch.ops.aten.group_norm.default: aten_group_norm,
        torch.ops.torchao.dequantize_affine.default: in_groups,
        decomposed.choose_qparams.tensor: choose,
        decomposed.quantize_per_tensor.tensor: quantize,
        decomposed.dequantize_per_tensor.tensor: dequantize,
    }


def settle(model: onnx.ModelProto, profile: RuntimeProfile) -> None:
    """Write what came from integers in the form for which ONNX Runtime has kernels."""
    _quantize_once(model.graph)
    _multiply_by_columns(model.graph)
    _pack_four_bits(model.graph)
    _unpack_once(model.graph)
    if _MICROSOFT in profile.domains:
        _join_silu(model)


def _quantize_once(graph: onnx.GraphProto) -> None:
    """The operator that finds a run's range gives the integers too."""
    found = {node.output[1]: node for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    for node in list(graph.node):
        if node.op_type == "QuantizeLinear" and node.input[1] in found:
            _rename(graph, node.output[0], found[node.input[1]].output[0])
            graph.node.remove(node)
    # PyTorch has these scales in float64, and the exporter says so.
    stated = {name for node in found.values() for name in node.output}
    for value in [value for value in graph.value_info if value.name in stated]:
        graph.value_info.remove(value)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new


def _multiply_by_columns(graph: onnx.GraphProto) -> None:
    """Store the integers of a linear's weight [out, in] as [in, out], for a MatMul: there ONNX Runtime has the kernels of four
    bits, and those of each run's own range."""
    import onnx

    made = {node.output[0]: node for node in graph.node}
    for node in list(graph.node):
        if node.op_type == "MatMul" and (turned := made.get(node.input[1])) is not None and turned.op_type == "Transpose":
            weight = made.get(turned.input[0])
        elif node.op_type == "Gemm" and {a.name: a.i for a in node.attribute}.get("transB") == 1:
            weight = made.get(node.input[1])
        else:
            continue
        if weight is None or weight.op_type != "DequantizeLinear" or not _is_wanted(node, weight, made):
            continue
        name = _by_columns(graph, weight)
        if node.op_type == "MatMul":
            node.input[1] = name
            continue
        product = onnx.helper.make_node("MatMul", [node.input[0], name], [f"{node.output[0]}_product"], f"{node.name}_product")
        product.metadata_props.extend(node.metadata_props)
        place = list(graph.node).index(node)
        if len(node.input) > 2:
            total = onnx.helper.make_node("Add", [product.output[0], node.input[2]], node.output, node.name)
            total.metadata_props.extend(node.metadata_props)
            node.CopyFrom(total)
            graph.node.insert(place, product)
        else:
            product.output[0] = node.output[0]
            node.CopyFrom(product)
    _drop_unread(graph)


def _is_wanted(node: onnx.NodeProto, weight: onnx.NodeProto, made: dict[str, onnx.NodeProto]) -> bool:
    """Whether the weight comes in groups, or what it multiplies in a range of each run's own."""
    read = made.get(node.input[0])
    pair = made.get(read.input[0]) if read is not None and read.op_type == "DequantizeLinear" else None
    return _block_size(weight) > 0 or (pair is not None and pair.op_type == "DynamicQuantizeLinear")


def _block_size(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "block_size"), 0)


def _by_columns(graph: onnx.GraphProto, weight: onnx.NodeProto) -> str:
    """The output of the same DequantizeLinear on the transposed integers."""
    import onnx
    from onnx import numpy_helper

    name = f"{weight.output[0]}_columns"
    if any(node.output[0] == name for node in graph.node):
        return name
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    inputs = []
    for given in weight.input:
        values = numpy_helper.to_array(arrays[given])
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values.T), f"{given}_columns"))
        inputs.append(f"{given}_columns")
    turned = onnx.helper.make_node("DequantizeLinear", inputs, [name], f"{weight.name}_columns")
    for attribute in weight.attribute:
        turned.attribute.append(attribute)
        if attribute.name == "axis":
            turned.attribute[-1].i = 1 - attribute.i
    if not any(attribute.name == "axis" for attribute in weight.attribute):
        raise AssertionError(f"{weight.name} states no axis")
    graph.node.insert(list(graph.node).index(weight), turned)
    return name


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove the conversions, transpositions and constants that nothing reads any more."""
    kept = {output.name for output in graph.output}
    while unread := [
        node
        for node in graph.node
        if node.op_type in ("Transpose", "DequantizeLinear") and not kept.union(_read(graph.node)).intersection(node.output)
    ]:
        for node in unread:
            graph.node.remove(node)
    read = set(_read(graph.node))
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read | kept]:
        graph.initializer.remove(tensor)


def _read(nodes: Iterable[onnx.NodeProto]) -> Iterable[str]:
    return (name for node in nodes for name in node.input)


def _pack_four_bits(graph: onnx.GraphProto) -> None:
    """Store the integers of groups, which are of four bits, two a byte; zero points that are all zero not at all."""
    import onnx
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    packed: set[str] = set()
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or not _block_size(node):
            continue
        if len(node.input) > 2 and not numpy_helper.to_array(tensors[node.input[2]]).any():
            del node.input[2]
        for name in {*node.input[:1], *node.input[2:]} - packed:
            values = numpy_helper.to_array(tensors[name])
            halves = np.append(values.flatten().view(np.uint8) & 15, np.zeros(values.size % 2, np.uint8))
            pairs = (halves[::2] | halves[1::2] << 4).tobytes()
            tensors[name].CopyFrom(onnx.helper.make_tensor(name, onnx.TensorProto.INT4, values.shape, pairs, raw=True))
            packed.add(name)
    for value in [value for value in graph.value_info if value.name in packed]:
        graph.value_info.remove(value)
    _drop_unread(graph)


def _unpack_once(graph: onnx.GraphProto) -> None:
    """Write the weights of what computes in floating point as products of constants: those ONNX Runtime multiplies when it
    opens the model. A DequantizeLinear it computes in every run, and what reads it misses the layouts for constant weights."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    weights: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        weight = made.get(node.input[1]) if node.op_type in ("Conv", "Gemm", "MatMul") else None
        has_kernel = node.op_type == "MatMul" and weight is not None and _block_size(weight)
        if weight is not None and node.input[0] not in made and not has_kernel and {*weight.input} <= tensors.keys():
            weights[weight.output[0]] = weight
    for weight in weights.values():
        _unpack(graph, weight, tensors)
    _drop_unread(graph)


def _unpack(graph: onnx.GraphProto, weight: onnx.NodeProto, tensors: dict[str, onnx.TensorProto]) -> None:
    """Put in the place of a conversion of symmetric integers a product with their scales."""
    from onnx import TensorProto, helper, numpy_helper

    if len(weight.input) > 2 and numpy_helper.to_array(tensors[weight.input[2]]).any():
        return
    integers, scales = tensors[weight.input[0]], numpy_helper.to_array(tensors[weight.input[1]])
    axis, size = next(a.i for a in weight.attribute if a.name == "axis") % len(integers.dims), _block_size(weight)
    whole, name = list(integers.dims), weight.output[0]
    if size:
        grouped = [*whole[:axis], whole[axis] // size, size, *whole[axis + 1 :]]
        scales = np.expand_dims(scales, axis + 1)
    else:
        grouped = whole
        scales = scales.reshape([-1 if place == axis else 1 for place in range(len(whole))])
    shapes = {f"{name}_groups": np.array(grouped), f"{name}_whole": np.array(whole)}
    constants = {f"{name}_scales": np.ascontiguousarray(scales), **shapes}
    graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in constants.items())
    steps = [
        helper.make_node("Cast", [integers.name], [f"{name}_cast"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", [f"{name}_cast", f"{name}_groups"], [f"{name}_grouped"]),
        helper.make_node("Mul", [f"{name}_grouped", f"{name}_scales"], [f"{name}_scaled"]),
        helper.make_node("Reshape", [f"{name}_scaled", f"{name}_whole"], [name]),
    ]
    place = list(graph.node).index(weight)
    graph.node.remove(weight)
    for step in reversed(steps):
        graph.node.insert(place, step)


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
