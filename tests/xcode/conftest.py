"""A Core ML artifact to write projects of: the writer only copies its package, so none is converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade import INPUTS, OUTPUTS, Build

from edgekit import artifact, profiles
from edgekit.runtimes import Array


@pytest.fixture
def made(tiny_artifact: Path, tmp_path: Path) -> Build:
    """An artifact with these inputs and outputs in its reference, and any field of its manifest changed."""

    def build(inputs: dict[str, Array] = INPUTS, outputs: dict[str, Array] = OUTPUTS, **changes: object) -> Path:
        directory = tmp_path / "künstliche netze" / "netz-coreml"
        package = directory / "model.mlpackage"
        (package / "Data").mkdir(parents=True)
        (package / "Manifest.json").write_text("{}")
        (package / "Data" / "weight.bin").write_bytes(bytes(range(256)))
        arrays = {f"inputs/{i}/{name}": array for i in range(2) for name, array in inputs.items()}
        arrays |= {f"outputs/{i}/{name}": array for i in range(2) for name, array in outputs.items()}
        np.savez(directory / artifact.REFERENCE, **arrays)  # type: ignore[arg-type]  # numpy types only its own keywords
        fields = {
            "target": "coreml",
            "device": profiles.load("iphone-16-pro").model_dump(mode="json"),
            "files": artifact.list_files(directory, [package]),
            **changes,
        }
        artifact.write_manifest(directory, artifact.load(tiny_artifact).manifest.model_copy(update=fields))
        return directory

    return build
