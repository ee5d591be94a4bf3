"""A saved Core ML package as plain data: functions of operations, with their declared types and their constants.

Read from the package itself with coremltools' own readers (specification, weight files, packed values), so that what is
executed is what was saved, not what the converter held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import ArtifactError, EdgekitError, Unsupported
from edgekit.quiet import quiet
from edgekit.runtimes import UNLIMITED

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

    choices: Mapping[str, tuple[tuple[range, ...], ...]] = field(default_factory=dict)
    """The shapes of inputs that may differ in shape, by the sizes of their axes."""

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
    spec, weights = specification(path)
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
        return _Reader(path, weights).function(name, functions[name], description(spec, name))
    except EdgekitError:
        raise
    except Exception as error:  # coremltools' readers raise whatever they meet first in a damaged program
        raise ArtifactError(
            f"{path} holds a program that cannot be read", cause=f"{type(error).__name__}: {error}", next_step=_AGAIN
        ) from error


def specification(path: Path) -> tuple[Any, Path | None]:
    """The package's specification and its folder of weights, if it has one. Raises ArtifactError for a damaged package."""
    with quiet():
        from coremltools.models import utils
    fault = _manifest_fault(path / "Manifest.json") if path.is_dir() else ""
    try:
        spec = utils.load_spec(str(path))
    except Exception as error:  # a missing file, a damaged manifest and a truncated message have no common class
        cause = fault or next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ArtifactError(f"{path} is not a sound Core ML package", cause=cause, next_step=_AGAIN) from error
    if not spec.ByteSize():
        raise ArtifactError(f"{path} is not a sound Core ML package", cause="its specification is empty", next_step=_AGAIN)
    weights = utils._try_get_weights_dir_path(str(path))
    return spec, Path(weights) if weights else None


def _manifest_fault(manifest: Path) -> str:
    """What is wrong with a package's manifest, in words; empty when the model's file is where it says."""
    if not manifest.is_file():
        return "it has no Manifest.json"
    try:
        content = json.loads(manifest.read_bytes())
        entry = content["itemInfoEntries"][content["rootModelIdentifier"]]
        file = manifest.parent / "Data" / entry["path"]
    except ValueError:  # no JSON, or no text at all
        return "its Manifest.json is no JSON"
    except (KeyError, TypeError):
        return "its Manifest.json names no model"
    return "" if file.is_file() else f"it lacks {file.relative_to(manifest.parent)}, which its Manifest.json names"


def description(spec: Any, function: str) -> Any:
    """What the specification says of a function's inputs, outputs and states."""
    return next((found for found in spec.description.functions if found.name == function), spec.description)


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
            border={feature.name: border for feature in features if (border := border_of(feature.type))},
            choices={feature.name: choices for feature in described.input if (choices := choices_of(feature.type))},
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


def border_of(spec: Any) -> Type | None:
    """What Core ML takes or gives for a feature: None where it is neither an array nor an image. An image is the array
    [1, channels, height, width] of its pixels."""
    kind = spec.WhichOneof("Type")
    if kind == "multiArrayType":
        array = spec.multiArrayType
        return Type(_MULTI_ARRAY_DTYPES.get(array.dataType, "fp32"), tuple(int(size) for size in array.shape))
    if kind == "imageType":
        image = spec.imageType
        return Type("fp32", (1, _CHANNELS.get(image.colorSpace, 1), int(image.height), int(image.width)))
    return None


_CHANNELS = {20: 3, 30: 3}
"""Of the colour spaces RGB and BGR; the others are grey."""


def choices_of(spec: Any) -> tuple[tuple[range, ...], ...]:
    """The shapes that Core ML takes for a feature, by the sizes of their axes; none where there is one fixed shape."""
    kind = spec.WhichOneof("Type")
    if kind == "imageType":
        return _image_choices(spec.imageType)
    flexible = spec.multiArrayType.WhichOneof("ShapeFlexibility") if kind == "multiArrayType" else None
    if flexible == "shapeRange":
        return (tuple(map(_range, spec.multiArrayType.shapeRange.sizeRanges)),)
    if flexible == "enumeratedShapes":
        return _listed(shape.shape for shape in spec.multiArrayType.enumeratedShapes.shapes)
    return ()


def _image_choices(image: Any) -> tuple[tuple[range, ...], ...]:
    channels = _CHANNELS.get(image.colorSpace, 1)
    flexible = image.WhichOneof("SizeFlexibility")
    if flexible == "imageSizeRange":
        bounds = image.imageSizeRange
        return ((range(1, 2), range(channels, channels + 1), _range(bounds.heightRange), _range(bounds.widthRange)),)
    if flexible == "enumeratedSizes":
        return _listed((1, channels, size.height, size.width) for size in image.enumeratedSizes.sizes)
    return ()


def _listed(shapes: Iterable[Sequence[int]]) -> tuple[tuple[range, ...], ...]:
    """Shapes as choices, the smallest first: packages list them in any order."""
    ordered = sorted(tuple(map(int, shape)) for shape in shapes)
    return tuple(tuple(range(size, size + 1) for size in shape) for shape in ordered)


def _range(bounds: Any) -> range:
    """A range of sizes; a negative upper bound is none."""
    return range(int(bounds.lowerBound), int(bounds.upperBound) + 1 if bounds.upperBound >= 0 else UNLIMITED)
