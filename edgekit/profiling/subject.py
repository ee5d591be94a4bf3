"""What is measured: an artifact directory, a bare model file, a model file with a runtime of the user's own, or the name of a
model (PyTorch eager)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Subject:
    """A subject and what is known of it without running it."""

    name: str
    """As the user gave it."""
    opens: str
    """What `runtimes.open` is given: an artifact's model file, so that checking its hashes is not timed as loading."""
    sha256: str | None = None
    model_bytes: int | None = None
    macs: int | None = None
    shapes: tuple[tuple[int, ...], ...] | None = None
    """Of the inputs to measure with, as the artifact's manifest says: its file may take more than those."""
    precision: str | None = None
    """As the artifact's manifest says; None when unknown."""


def describe(subject: str | Path) -> Subject:
    """The subject behind a path or a model's name. Raises ArtifactError for a damaged artifact."""
    from edgekit import artifact

    path, name = Path(subject), str(subject)
    if path.is_dir() and path.suffix != ".mlpackage":
        loaded = artifact.load(path)
        manifest = loaded.manifest
        return Subject(
            name=name,
            opens=str(loaded.model_file),
            sha256=loaded.sha256,
            model_bytes=loaded.size_bytes,
            macs=manifest.model.macs,
            shapes=tuple(tensor.shape for tensor in manifest.inputs),
            precision=manifest.precision,
        )
    if path.is_file():
        return Subject(name=name, opens=name, sha256=artifact.sha256_of(path), model_bytes=path.stat().st_size)
    return Subject(name=name, opens=name)
