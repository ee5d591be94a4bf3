"""The artifact's reference in a form that Swift reads without a library.

`EdgekitReference.bin` holds the arrays one after another, little-endian, in C order, as Core ML takes and gives them:
float32, or int32 for whole numbers and truth values, of rank 1 at least. `EdgekitReference.json` is its index::

    {"model": name, "bound_sqnr_db": 30.0,
     "samples": [{"inputs": {name: {"dtype": "float32", "shape": [1, 3, 224, 224], "offset": 0}}, "outputs": {...}}]}

where `offset` counts bytes and `outputs` are PyTorch's, in fp32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgekit import reference_inputs
from edgekit.artifact import REFERENCE, Artifact
from edgekit.errors import ArtifactError
from edgekit.reference_inputs import Outputs
from edgekit.runtimes import Array, coreml

FILES = ("EdgekitReference.bin", "EdgekitReference.json")


def write(artifact: Artifact, directory: Path) -> None:
    """Write both files. Raises ArtifactError for whole numbers that Core ML has no type for."""
    arrays, index = (directory / name for name in FILES)
    inputs, outputs = reference_inputs.read(artifact.directory / REFERENCE)
    with arrays.open("wb") as stream:
        samples = [
            {"inputs": _stored(given, stream), "outputs": _stored(expected, stream)}
            for given, expected in zip(inputs, outputs, strict=True)
        ]
    content = {
        "model": artifact.manifest.model.name,
        "bound_sqnr_db": artifact.manifest.parity.precision.bound_sqnr_db,
        "samples": samples,
    }
    index.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _stored(arrays: Outputs, stream: BinaryIO) -> dict[str, Any]:
    """Append `arrays` to `stream`; what the index says of them."""
    entries = {}
    for name, array in arrays.items():
        converted = coreml.outside(array)
        if not np.issubdtype(array.dtype, np.floating) and not np.array_equal(converted, np.atleast_1d(array)):
            raise ArtifactError(
                f"{name!r} of the reference holds whole numbers beyond 32 bits",
                cause="Core ML has no wider type",
                next_step="export the module with smaller example inputs",
            )
        entries[name] = {"dtype": converted.dtype.name, "shape": list(converted.shape), "offset": stream.tell()}
        stream.write(_little_endian(converted))
    return entries


def _little_endian(array: Array) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
