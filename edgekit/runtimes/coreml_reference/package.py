"""A saved Core ML package as plain data: functions of operations, with their declared types and their constants.

Read from the package itself with coremltools' own readers (specification, weight files, packed values), so that what is
executed is what was saved, not what the converter held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import ArtifactError, EdgekitError, Unsupported
from edgekit.quiet import quiet

Constant = Any
"""A constant as coremltools reads it: a numpy array, a number, a string, or a list of strings."""

_AGAIN = "export it again; if it was downloaded, check that the download is complete"
_FIRST_MLPROGRAM_VERSION = 6
_OPSETS = {"CoreML5": 15, "CoreML6": 16, "CoreML7": 17, "CoreML8": 18}
"""The iOS version of each operator set."""


@dataclass(frozen=True)
class Type:
    """The declared type of a value."""

    dtype: str
    """As MIL names it (`fp16`, `fp32`, `int32`, `bool`, `uint8`, ...); `list` and `dict` for those."""

    shape: tuple[int | None, ...] = ()
    """None where a size depends on the inputs."""

    any_rank: bool = False
    """Whether even the number of sizes depends on the inputs."""


@dataclass(frozen=True)
class Reference:
    """An argument that names a value."""

    name: str


@dataclass(frozen=True)
class Operation:
    """One operation: `arguments` holds, for each parameter, constants and references in order."""

    operator: str
    name: str
    arguments: Mapping[str, tuple[Reference | Constant, ...]]
    outputs: tuple[tuple[str, Type], ...]
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Block:
    """Operations in order; a function's body or a branch."""

    inputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def walk(self) -> Iterator[Operation]:
        """Every operation, those of nested blocks included."""
        for operation in self.operations:
            yield operation
            for block in operation.blocks:
                yield from block.walk()


@dataclass(frozen=True)
class Function:
    """A function of the program."""

    name: str
    opset: int
    """The iOS version whose operator set it is written in."""

    inputs: Mapping[str, Type]
    states: Mapping[str, Type]
    body: Block
    border: Mapping[str, Type] = field(default_factory=dict)
    """Types that the package's description, rather than the program, gives inputs and outputs: what Core ML takes and gives."""

    largest: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The largest shapes of inputs whose shape may differ."""

    outputs: tuple[str, ...] = ()
    """In the description's order."""

    @property
    def results(self) -> dict[str, Type]:
        """The declared types of what the body's operations give."""
        return {name: declared for operation in self.body.operations for name, declared in operation.outputs}


def load(path: Path, function: str | None = None) -> Function:
    """The function `function` (the package's default one when None) of an mlprogram package.

    Raises ArtifactError for a damaged package, and Unsupported for a sound one of another kind.
    """
    spec, weights = _specification(path)
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise Unsupported(
            f"{path} is a Core ML model of type {kind}, which only Core ML runs",
            cause="edgekit's reference executes ML programs (mlProgram) only",
            next_step="run it on a Mac, or convert the model again with convert_to='mlprogram'",
        )
    _check_version(path, spec.specificationVersion)
    functions = spec.mlProgram.functions
    name = function or spec.description.defaultFunctionName or "main"
    if name not in functions:
        raise ArtifactError(
            f"{path} has no function {name!r}",
            cause=f"it has {', '.join(sorted(functions)) or 'none'}",
            next_step=_AGAIN if function is None else "name one of these",
        )
    try:
        described = next((f for f in spec.description.functions if f.name == name), spec.description)
        return _Reader(path, weights).function(name, functions[name], described)
    except EdgekitError:
        raise
    except Exception as error:  # coremltools' readers raise whatever they meet first in a damaged program
        raise ArtifactError(
            f"{path} holds a program that cannot be read", cause=f"{type(error).__name__}: {error}", next_step=_AGAIN
        ) from error


def _specification(path: Path) -> tuple[Any, Path | None]:
    """The package's specification and its folder of weights, if it has one."""
    with quiet():
        from coremltools.models import utils
    try:
        spec = utils.load_spec(str(path))
    except Exception as error:  # a missing file, a damaged manifest and a truncated message have no common class
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ArtifactError(f"{path} is not a sound Core ML package", cause=cause, next_step=_AGAIN) from error
    weights = utils._try_get_weights_dir_path(str(path))
    return spec, Path(weights) if weights else None


def _check_version(path: Path, version: int) -> None:
    from coremltools.converters.mil._deployment_compatibility import AvailableTarget

    newest = max(int(target) for target in AvailableTarget)
    if version > newest:
        raise Unsupported(
            f"{path} is of specification version {version}",
            cause=f"the coremltools installed here reads versions up to {newest}",
            next_step="install a newer edgekit, or convert the model for an older deployment target",
        )
    if version < _FIRST_MLPROGRAM_VERSION:
        raise ArtifactError(
            f"{path} says that it is of specification version {version}",
            cause=f"ML programs begin with version {_FIRST_MLPROGRAM_VERSION}",
            next_step=_AGAIN,
        )


class _Reader:
    """Turns the specification's messages into the classes above. A weight that several operations share is read once."""

    def __init__(self, path: Path, weights: Path | None) -> None:
        from coremltools.converters.mil.frontend.milproto import load as milproto

        self._path, self._weights, self._milproto = path, weights, milproto
        self._context = milproto.TranscriptionContext(str(weights) if weights else "")
        self._read: dict[tuple[str, int], Constant] = {}

    def function(self, name: str, spec: Any, described: Any) -> Function:
        if spec.opset not in spec.block_specializations:
            raise ArtifactError(
                f"{self._path}: function {name!r} has no body for its operator set",
                cause=f"it is written in {spec.opset or 'none'}",
                next_step=_AGAIN,
            )
        types = {value.name: (value.type, _type(value.type)) for value in spec.inputs}
        features = [*described.input, *described.output]
        return Function(
            name=name,
            opset=_OPSETS.get(spec.opset, max(_OPSETS.values())),
            inputs={n: t for n, (proto, t) in types.items() if proto.WhichOneof("type") != "stateType"},
            states={n: t for n, (proto, t) in types.items() if proto.WhichOneof("type") == "stateType"},
            body=self._block(spec.block_specializations[spec.opset]),
            border={feature.name: border for feature in features if (border := _border(feature.type))},
            largest={feature.name: shape for feature in described.input if (shape := _largest(feature.type))},
            outputs=tuple(feature.name for feature in described.output),
        )

    def _block(self, spec: Any) -> Block:
        return Block(
            inputs=tuple(value.name for value in spec.inputs),
            operations=tuple(self._operation(operation) for operation in spec.operations),
            outputs=tuple(spec.outputs),
        )

    def _operation(self, spec: Any) -> Operation:
        outputs = tuple((value.name, _type(value.type)) for value in spec.outputs)
        given: dict[str, tuple[Reference | Constant, ...]] = {
            key: (self._constant(value, spec),) for key, value in spec.attributes.items()
        }
        label = given.pop("name", (outputs[0][0] if outputs else spec.type,))[0]
        for parameter, argument in spec.inputs.items():
            given[parameter] = tuple(
                Reference(binding.name) if binding.WhichOneof("binding") == "name" else self._constant(binding.value, spec)
                for binding in argument.arguments
            )
        blocks = tuple(self._block(block) for block in spec.blocks)
        return Operation(spec.type, str(label), given, outputs, blocks)

    def _constant(self, value: Any, operation: Any) -> Constant:
        if value.WhichOneof("value") == "blobFileValue":
            return self._weight(value, operation)
        immediate = value.immediateValue
        if immediate.WhichOneof("value") == "list":
            return [self._constant(item, operation) for item in immediate.list.values]
        return self._milproto._load_value(self._context, value)

    def _weight(self, value: Any, operation: Any) -> Constant:
        blob = value.blobFileValue
        key = (blob.fileName, blob.offset)
        if key not in self._read:
            owner = operation.outputs[0].name if operation.outputs else operation.type
            name = blob.fileName.rsplit("/", 1)[-1]
            file = None if self._weights is None else self._weights / name
            if file is None or not file.is_file():
                raise ArtifactError(
                    f"{self._path} lacks its weights", cause=f"{owner} is in {name}, which is missing", next_step=_AGAIN
                )
            _check_extent(file, blob.offset, owner)
            try:
                self._read[key] = self._milproto._load_value(self._context, value)
            except RuntimeError as error:
                raise ArtifactError(
                    f"{file} is damaged", cause=f"{owner} cannot be read: {str(error).splitlines()[0]}", next_step=_AGAIN
                ) from error
        return self._read[key]


def _check_extent(file: Path, offset: int, owner: str) -> None:
    """Raise ArtifactError unless the weight at `offset` lies within `file`: the reader maps the file and trusts it."""
    header = np.dtype([("sentinel", "<u4"), ("dtype", "<u4"), ("size_bytes", "<u8"), ("offset", "<u8")])
    size = file.stat().st_size
    ends, cause = offset + 64, f"{owner} lies beyond its end"
    if ends <= size:
        found = np.fromfile(file, header, count=1, offset=offset)[0]
        if found["sentinel"] != 0xDEADBEEF:
            ends, cause = size + 1, f"no weight begins where {owner} should"
        else:
            ends = int(found["offset"]) + int(found["size_bytes"])
    if ends > size:
        raise ArtifactError(f"{file} is damaged", cause=f"{cause} ({size} bytes)", next_step=_AGAIN)


def _type(spec: Any) -> Type:
    """The declared type of a `ValueType`."""
    from coremltools.converters.mil.mil import types

    kind = spec.WhichOneof("type")
    if kind == "stateType":
        return _type(spec.stateType.wrappedType)
    if kind != "tensorType":
        return Type(kind.removesuffix("Type").replace("dictionary", "dict"))
    tensor = spec.tensorType
    dtype = types.builtin_to_string(types.PROTO_TO_BUILTIN_TYPE[tensor.dataType])
    sizes = tuple(int(size.constant.size) if size.WhichOneof("dimension") == "constant" else None for size in tensor.dimensions)
    return Type(dtype, sizes, any(size.unknown.variadic for size in tensor.dimensions))


_MULTI_ARRAY_DTYPES = {65568: "fp32", 65552: "fp16", 65600: "fp64", 131104: "int32", 131080: "int8"}


def _border(spec: Any) -> Type | None:
    """What Core ML takes or gives for a feature: None where it is no array of a stated shape."""
    if spec.WhichOneof("Type") != "multiArrayType":
        return None
    array = spec.multiArrayType
    return Type(_MULTI_ARRAY_DTYPES.get(array.dataType, "fp32"), tuple(int(size) for size in array.shape))


def _largest(spec: Any) -> tuple[int, ...] | None:
    """The largest size of each axis that Core ML takes; None for one fixed shape."""
    array = spec.multiArrayType
    kind = array.WhichOneof("ShapeFlexibility") if spec.WhichOneof("Type") == "multiArrayType" else None
    if kind == "shapeRange":
        bounds = (int(size.upperBound) for size in array.shapeRange.sizeRanges)
        return tuple(bound if bound >= 0 else np.iinfo(np.int32).max for bound in bounds)
    if kind == "enumeratedShapes":
        return tuple(map(max, zip(*(shape.shape for shape in array.enumeratedShapes.shapes), strict=True)))
    return None
