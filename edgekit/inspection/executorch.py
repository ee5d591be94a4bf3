"""ExecuTorch programs, read with its own readers; XNNPACK's part with the schema that its delegate writes."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.errors import ArtifactError
from edgekit.inspection import Delegation, Memory, Report, Weight, counted
from edgekit.profiles import RuntimeProfile
from edgekit.quiet import quiet
from edgekit.runtimes import TensorSpec
from edgekit.runtimes.executorch import NUMPY_NAMES

_AGAIN = "export it again; if it was downloaded, check that the download is complete"
_XNNPACK = "XnnpackBackend"
_FILTERS = ("filter_id", "bias_id")
_FLOATS = {"fp32": "float32", "fp16": "float16"}
_METHOD = (
    "the arena that the program plans, where its inputs and outputs and what operators outside the delegates make have their "
    "places; what a delegate holds while it runs is not in the file"
)


@dataclass
class _Part:
    """What a delegate's part holds."""

    operators: list[str] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    dtypes: list[str] = field(default_factory=list)
    largest_rank: int = 0


def read(model_file: Path, profile: RuntimeProfile) -> Report:
    """The report on the `forward` method of a `.pte` file. Raises ArtifactError for a damaged one."""
    file = _loaded(model_file)
    plan = next((plan for plan in file.program.execution_plan if plan.name == "forward"), file.program.execution_plan[0])
    calls = [instruction.instr_args for chain in plan.chains for instruction in chain.instructions]
    outside = [_short(plan.operators[call.op_index].name) for call in calls if hasattr(call, "op_index")]
    ran = [plan.delegates[call.delegate_index] for call in calls if hasattr(call, "delegate_index")]
    foreign = sorted({delegate.id for delegate in plan.delegates} - {_XNNPACK})
    parts = [_xnnpack(model_file, _payload(file.program, d), at) for at, d in enumerate(ran) if d.id == _XNNPACK]
    inside = [operator for part in parts for operator in part.operators]
    tensors = [value.val for value in plan.values if hasattr(value.val, "scalar_type")]
    weights = [weight for part in parts for weight in part.weights] + _constants(file.program, tensors)
    ranks = [*(part.largest_rank for part in parts), *(len(tensor.sizes) for tensor in tensors)]
    made = [NUMPY_NAMES[int(t.scalar_type)] for t in tensors if t.allocation_info is not None]
    unknown = {
        "findings": "the linter reads Core ML packages",
        "placement": "delegates are named in the program: see delegation",
    }
    if foreign:
        unknown["delegation.inside"] = f"edgekit reads XNNPACK's delegates, not those of {', '.join(foreign)}"
    return Report(
        format="executorch",
        operators=counted([*inside, *outside]),
        weights=tuple(sorted(weights, key=lambda weight: -weight.size_bytes)),
        activation_dtypes=counted([*(dtype for part in parts for dtype in part.dtypes), *made]),
        inputs=_specs("input", plan, plan.inputs),
        outputs=_specs("output", plan, plan.outputs),
        largest_rank=max(ranks, default=0),
        memory=Memory(sum(w.size_bytes for w in weights), sum(plan.non_const_buffer_sizes[1:]), None, _METHOD),
        delegation=Delegation(
            delegates=counted(delegate.id for delegate in ran),
            inside=None if foreign else len(inside),
            outside=counted(outside),
        ),
        unknown=unknown,
    )


def _loaded(model_file: Path) -> Any:
    """The program with its constants and its delegates' data."""
    with quiet():
        from executorch.exir._serialize._program import deserialize_pte_binary
    try:
        with quiet():
            file = deserialize_pte_binary(model_file.read_bytes())
        if not file.program.execution_plan:
            raise ValueError("it has no method")
    except Exception as error:  # its reader trusts what it reads: whatever a damaged file makes of that
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ArtifactError(f"{model_file} is not a sound ExecuTorch program", cause=cause, next_step=_AGAIN) from error
    return file


def _short(operator: str) -> str:
    return operator.removeprefix("aten::")


def _payload(program: Any, delegate: Any) -> bytes:
    data: bytes = program.backend_delegate_data[delegate.processed.index].data
    return data


def _xnnpack(model_file: Path, payload: bytes, number: int) -> _Part:
    """What XNNPACK's part `number` holds. Its file keeps no names: a weight goes by the operator that reads it."""
    try:
        graph = _graph(payload)
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        what, cause = f"{model_file} is not a sound ExecuTorch program", f"XNNPACK's part {number} cannot be read: {error}"
        raise ArtifactError(what, cause=cause, next_step=_AGAIN) from error
    values = {}
    for value in graph["xvalues"]:
        tensor = value["xvalue_union"].get("tensor_value", value["xvalue_union"])
        values[tensor["id_out"]] = tensor
    part = _Part(largest_rank=max((tensor["num_dims"] for tensor in values.values()), default=0))
    readers: dict[int, str] = {}
    for index, node in enumerate(graph["xnodes"]):
        operator = node["xnode_union_type"].removeprefix("XNN").removeprefix("_")
        part.operators.append(operator)
        for key, name in node["xnode_union"].items():
            if key.endswith("_id"):
                kind = key.removesuffix("_id") if key in _FILTERS else "constant"
                readers.setdefault(name, f"delegate {number}: {operator} {index}, {kind}")
    stored: dict[int, Weight] = {}
    for name, tensor in values.items():
        dtype = str(tensor["datatype"]).removeprefix("xnn_datatype_")
        dtype = _FLOATS.get(dtype, dtype)
        buffer = tensor["constant_buffer_idx"]
        if not buffer:
            part.dtypes.append(dtype)
        elif buffer not in stored:
            size = graph["constant_data"][buffer]["size"]
            stored[buffer] = Weight(readers.get(name, f"delegate {number}"), dtype, tuple(tensor["dims"]), size)
    part.weights = list(stored.values())
    return part


def _graph(payload: bytes) -> dict[str, Any]:
    """XNNPACK's serialized graph, through the flatbuffer compiler that ExecuTorch brings."""
    from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize as xnnpack
    from executorch.exir._serialize import _flatbuffer

    header = xnnpack.XNNHeader.from_bytes(payload[: xnnpack.XNNHeader.EXPECTED_LENGTH])
    with tempfile.TemporaryDirectory() as folder:
        schema, binary = Path(folder, "schema.fbs"), Path(folder, "graph.bin")
        schema.write_bytes(xnnpack._get_schema_bytes())
        binary.write_bytes(payload[header.flatbuffer_offset : header.flatbuffer_offset + header.flatbuffer_size])
        with quiet():
            _flatbuffer._flatc_decompile(folder, str(schema), str(binary), ["--raw-binary"])
        text = Path(folder, "graph.json").read_text(encoding="utf-8")
    graph: dict[str, Any] = json.loads(re.sub(r"(: -?)inf\b", r"\1Infinity", text))  # as Python's reader spells it
    return graph


def _constants(program: Any, tensors: list[Any]) -> list[Weight]:
    """The constants that operators outside the delegates read, each once."""
    found: dict[int, Weight] = {}
    for index, tensor in enumerate(tensors):
        if tensor.allocation_info is None and tensor.data_buffer_idx:
            told: str | None = getattr(tensor.extra_tensor_info, "fully_qualified_name", None)
            size = len(program.constant_buffer[tensor.data_buffer_idx].storage)
            dtype = NUMPY_NAMES[int(tensor.scalar_type)]
            found.setdefault(tensor.data_buffer_idx, Weight(told or f"constant {index}", dtype, tuple(tensor.sizes), size))
    return list(found.values())


def _specs(kind: str, plan: Any, indices: list[int]) -> tuple[TensorSpec, ...]:
    """Inputs or outputs, numbered: the file keeps no names. Those that are no tensors are left out."""
    tensors = [plan.values[index].val for index in indices if hasattr(plan.values[index].val, "scalar_type")]
    names = [kind] if len(tensors) == 1 else [f"{kind}_{index}" for index in range(len(tensors))]
    pairs = zip(names, tensors, strict=True)
    return tuple(TensorSpec(name, tuple(tensor.sizes), NUMPY_NAMES[int(tensor.scalar_type)]) for name, tensor in pairs)
