"""ONNX files, read with onnx's own reader; weights in files beside are not loaded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ArtifactError
from edgekit.inspection import Memory, Report, Weight, counted, liveness
from edgekit.profiles import RuntimeProfile
from edgekit.runtimes import TensorSpec
from edgekit.runtimes.onnxruntime import size_in_batch_of_one

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...] | None
"""None where it is not stated; -1 for a size that is not."""

_METHOD = (
    "every result in program order in memory of its own, for a batch of one; ONNX Runtime fuses operators and packs weights"
)
_AGAIN = "export it again; if it was downloaded, check that the download is complete"


def read(model_file: Path, profile: RuntimeProfile) -> Report:
    """The report on an ONNX file. Raises ArtifactError for a damaged one."""
    model = _loaded(model_file)
    graph = model.graph
    operators = [node for node in walk(graph) if node.op_type != "Constant"]
    weights = sorted((_weight(*stored, model_file) for stored in _tensors(graph)), key=lambda weight: -weight.size_bytes)
    types = {value.name: _type(value) for value in (*graph.input, *graph.output, *graph.value_info)}
    made = {name for node in graph.node if node.op_type != "Constant" for name in node.output if name}
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    memory, reason = _memory(graph, {name: types[name] for name in types if name not in stored}, weights)
    ranks = [len(shape) for name, (_, shape) in types.items() if shape is not None and name not in stored]
    return Report(
        format="onnx",
        operators=counted(node.op_type for node in operators),
        weights=tuple(weights),
        activation_dtypes=counted(_dtype(types[name][0]) for name in sorted(made) if name in types),
        inputs=tuple(_spec(value) for value in inputs),
        outputs=tuple(_spec(value) for value in graph.output),
        largest_rank=max(ranks, default=None),
        memory=memory,
        unknown={
            **({} if memory else {"memory": reason}),
            **({} if ranks else {"largest_rank": "the file states no shapes"}),
            "delegation": "an ONNX file does not tell: a runtime divides the operators among its providers when it loads it",
            "findings": "the linter reads Core ML packages",
            "placement": "an ONNX file has no compute plan",
        },
    )


def _loaded(model_file: Path) -> onnx.ModelProto:
    """The model with the types of its values, as far as they can be inferred."""
    import onnx

    try:
        model = onnx.load(model_file, load_external_data=False)
        typed = {value.name for value in (*model.graph.value_info, *model.graph.output)}
        if not all(name in typed for node in model.graph.node for name in node.output if name):
            model = onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # a truncated message, a wrong version and an unknown operator have no common class
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ArtifactError(f"{model_file} is not a sound ONNX file", cause=cause, next_step=_AGAIN) from error
    if not model.graph.node:
        raise ArtifactError(f"{model_file} is not a sound ONNX file", cause="it holds no operators", next_step=_AGAIN)
    return model


def walk(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every operator, those of branches and loops included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from walk(inner)


def data_files(model_file: Path) -> list[Path]:
    """The files in an ONNX file's folder that hold weights of its; of most models, none. None of a damaged one either: whatever
    opens it says so. Raises ArtifactError for data that are missing, cut short, or outside that folder."""
    if b"location" not in model_file.read_bytes():  # the key that tells of such a file; parsing all takes longer
        return []
    import onnx

    try:
        graph = onnx.load(model_file, load_external_data=False).graph
    except Exception:  # what onnx finds wrong with a file has no common class
        return []
    folder = model_file.parent
    found = sorted({beside for tensor, name in _tensors(graph) if (beside := _beside(tensor, name, model_file))})
    if outside := [path for path in found if not path.is_relative_to(folder) or ".." in path.relative_to(folder).parts]:
        raise ArtifactError(
            f"{model_file} has weights outside its folder",
            cause=f"some are in {outside[0]}",
            next_step="save it with its weights beside it, or inside: onnx.save(onnx.load(FILE), NEW)",
        )
    return found


def _tensors(graph: onnx.GraphProto) -> Iterator[tuple[onnx.TensorProto, str]]:
    """The stored tensors with their names: initializers, and constants given in place."""
    for tensor in graph.initializer:
        yield tensor, tensor.name
    for node in walk(graph):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t, attribute.t.name or node.output[0]
            for inner in (attribute.g, *attribute.graphs):
                for tensor in inner.initializer:
                    yield tensor, tensor.name


def _weight(tensor: onnx.TensorProto, name: str, model_file: Path) -> Weight:
    _beside(tensor, name, model_file)
    return Weight(name.removeprefix("folded_"), _dtype(tensor.data_type), tuple(tensor.dims), _size_bytes(tensor))


def _size_bytes(tensor: onnx.TensorProto) -> int:
    return math.ceil(math.prod(map(int, tensor.dims)) * bits(tensor.data_type) / 8)


def _beside(tensor: onnx.TensorProto, name: str, model_file: Path) -> Path | None:
    """The file that holds a tensor which the model's own does not. Raises ArtifactError where it is missing or cut short."""
    import onnx

    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return None
    told = {str(entry.key): str(entry.value) for entry in tensor.external_data}
    beside = model_file.parent / told["location"]
    ends = int(told.get("offset", 0)) + int(told.get("length", _size_bytes(tensor)))
    if not beside.is_file() or beside.stat().st_size < ends:
        what = "is cut short" if beside.is_file() else "is missing"
        raise ArtifactError(
            f"{model_file} lacks its weights", cause=f"{name} is in {beside.name}, which {what}", next_step=_AGAIN
        )
    return beside


def _dtype(data_type: int) -> str:
    import onnx

    if data_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
        return str(onnx.TensorProto.DataType.Name(data_type)).lower()
    return str(onnx.helper.tensor_dtype_to_np_dtype(data_type).name)


def bits(data_type: int) -> int:
    """Bits of one element; 0 for strings, whose size is not stated."""
    import onnx

    if data_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
        return 0
    name = onnx.TensorProto.DataType.Name(data_type)
    if name.endswith("INT4"):
        return 4
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8


def _type(value: onnx.ValueInfoProto) -> tuple[int, Shape]:
    """The ONNX number of its type and the shape of a value; sizes that follow a batch are those of a batch of one."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return tensor.elem_type, None
    sizes = (size_in_batch_of_one(size.dim_param) if size.dim_param else size.dim_value for size in tensor.shape.dim)
    return tensor.elem_type, tuple(size if isinstance(size, int) else -1 for size in sizes)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    data_type, shape = _type(value)
    return TensorSpec(value.name, shape or (), _dtype(data_type))


def _memory(graph: onnx.GraphProto, types: dict[str, tuple[int, Shape]], weights: list[Weight]) -> tuple[Memory | None, str]:
    """The estimate, or why there is none."""

    def size(name: str) -> int:
        data_type, shape = types[name]
        return math.prod(shape or ()) * math.ceil(bits(data_type) / 8)

    nodes = [node for node in graph.node if node.op_type != "Constant"]
    made = [name for node in nodes for name in node.output if name]
    open_sizes = [name for name in made if name not in types or types[name][1] is None or -1 in (types[name][1] or ())]
    if open_sizes:
        return None, f"{len(open_sizes)} of {len(made)} results have sizes that depend on the inputs, such as {open_sizes[0]}"
    steps = [
        liveness.Step(node.name or node.op_type, set(node.input), {name: size(name) for name in node.output if name})
        for node in nodes
    ]
    given = {value.name: size(value.name) for value in graph.input if value.name in types}
    most, at = liveness.peak(steps, given, {value.name for value in graph.output})
    method = (
        "every result in program order in memory of its own, for a batch of one; ONNX Runtime fuses operators and packs weights"
    )
    return Memory(sum(weight.size_bytes for weight in weights), most, at, method), ""
