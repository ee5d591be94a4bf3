"""Faults planted into a published Core ML artifact, such that its hashes agree and only its numbers can tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from coremltools.converters.mil.backend.mil import helper
from coremltools.models import utils

from edgekit import artifact
from edgekit.runtimes.coreml_reference import package

SPECIFICATION = Path("Data", "com.apple.CoreML", "model.mlmodel")
WEIGHTS = Path("Data", "com.apple.CoreML", "weights", "weight.bin")


class Package:
    """A package's operations, to change."""

    def __init__(self, path: Path) -> None:
        self._path, self.specification = path, utils.load_spec(str(path))
        (function,) = self.specification.mlProgram.functions.values()
        (self.block,) = function.block_specializations.values()
        self._read = package._Reader(path, path / WEIGHTS.parent)

    def operation(self, name: str) -> Any:
        """The one that gives the result `name`, whatever it computes in."""
        return next(op for op in self.block.operations if op.outputs[0].name.replace("_cast_fp16", "") == name)

    def constant(self, name: str, parameter: str) -> Any:
        """The constant that an operation takes."""
        return np.array(self._read._constant(self._stored(name, parameter), self.operation(name)))

    def _stored(self, name: str, parameter: str) -> Any:
        given = self.operation(name).inputs[parameter].arguments[0].name
        return next(op for op in self.block.operations if op.outputs[0].name == given).attributes["val"]

    def put(self, name: str, parameter: str, value: Any) -> None:
        """Let an operation, and no other, take another constant of the same type."""
        before = self.constant(name, parameter)
        argument = self.operation(name).inputs[parameter].arguments[0]
        if before.dtype.kind in "US":
            made = helper.create_scalar_value(str(value))
        else:
            array = np.asarray(value, before.dtype).reshape(before.shape)
            made = helper.create_tensor_value(array) if array.ndim else helper.create_scalar_value(array[()])
        argument.value.CopyFrom(made)

    def flip_bit(self, name: str, parameter: str, element: int, bit: int) -> None:
        """Flip a bit of an fp16 weight in the file of weights."""
        file = self._path / WEIGHTS
        content = bytearray(file.read_bytes())
        header = self._stored(name, parameter).blobFileValue.offset
        begins = int.from_bytes(content[header + 16 : header + 24], "little")
        content[begins + 2 * element + bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)

    def swap(self, name: str, first: str, second: str) -> None:
        """Exchange two of an operation's arguments."""
        inputs = self.operation(name).inputs
        held = type(inputs[first])()
        held.CopyFrom(inputs[first])
        inputs[first].CopyFrom(inputs[second])
        inputs[second].CopyFrom(held)

    def save(self) -> None:
        """Write what was changed."""
        (self._path / SPECIFICATION).write_bytes(self.specification.SerializeToString())


@contextmanager
def opened(directory: Path) -> Iterator[Package]:
    """The package of an artifact, to change; its manifest then lists what it has become."""
    loaded = artifact.load(directory)
    changed = Package(loaded.model_file)
    yield changed
    changed.save()
    files = artifact.list_files(directory, [loaded.model_file])
    artifact.write_manifest(directory, loaded.manifest.model_copy(update={"files": files}))
