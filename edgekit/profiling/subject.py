"""What is measured: an artifact directory, a bare model file, a model file with a runtime of the user's own, or the name of a
model (PyTorch eager)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.profiling.measurement import Model

if TYPE_CHECKING:
    from edgekit.artifact import Manifest


@dataclass(frozen=True)
class Subject:
    """A subject and what is known of it without running it."""

    name: str
    """As the user gave it."""
    opens: str
    """What `runtimes.open` is given: an artifact's model file, so that checking its hashes is not timed as loading."""
    model: Model
    shapes: tuple[tuple[int, ...], ...] | None = None
    """Of the inputs to measure with, as the artifact's manifest says: its file may take more than those."""
    batch: int | None = None
    """That was asked for."""
    directory: Path | None = None
    """The artifact's, where it is one: it holds reference inputs and outputs."""
    data: tuple[str, ...] = ()
    """Files that hold weights of a bare ONNX file, by their paths from its folder."""

    @property
    def model_file(self) -> Path:
        """The file or package that is opened; no file for a model's name."""
        return Path(self.opens)

    @property
    def label(self) -> str:
        """What tells it from others on any machine."""
        name = self.model.sha256[:16] if self.model.sha256 else self.name
        return name if self.batch is None else f"{name} in batches of {self.batch}"


def describe(subject: str | Path, batch: int | None = None) -> Subject:
    """The subject behind a path or a model's name, run in batches of `batch` (None: as its example is).

    Raises ArtifactError for a damaged artifact, and UsageError for a batch that it does not take.
    """
    from edgekit import artifact, runtimes

    path, name = Path(subject), str(subject)
    if path.is_dir() and path.suffix != ".mlpackage":
        loaded = artifact.load(path)
        manifest = loaded.manifest
        model = Model(
            name=manifest.model.name,
            target=manifest.target,
            precision=manifest.precision,
            quantization=None if manifest.quantization is None else manifest.quantization.scheme,
            sha256=loaded.sha256,
            size_bytes=loaded.size_bytes,
            macs=_macs(manifest, batch),
        )
        return Subject(name, str(loaded.model_file), model, _shapes(name, manifest, batch), batch, path)
    if not path.exists():
        runtime, named = runtimes.of_module(name)
        way = runtime.__name__.rpartition(".")[2]
        return Subject(name, name, Model(name=named, target=way), batch=batch)
    if batch is not None:
        raise UsageError(
            f"{name} is measured in the batch it was made for",
            cause="a bare file does not say which of its axes are the batch",
            next_step="leave --batch out, or give an artifact exported with --max-batch",
        )
    from edgekit.inspection import FORMATS, onnx

    beside = onnx.data_files(path) if path.suffix == ".onnx" else []
    size_bytes = sum(file.stat().st_size for file in ([path, *beside] if path.is_file() else path.rglob("*")))
    sha256 = artifact.sha256_of(path, *beside) if path.is_file() else None
    target = FORMATS.get(path.suffix, path.suffix.removeprefix("."))
    model = Model(name=path.stem, target=target, sha256=sha256, size_bytes=size_bytes)
    return Subject(name, name, model, data=tuple(file.relative_to(path.parent).as_posix() for file in beside))


def _shapes(name: str, manifest: Manifest, batch: int | None) -> tuple[tuple[int, ...], ...]:
    """The inputs' shapes in that batch: the first axis of every input that is as long there as the first input."""
    shapes = tuple(tensor.shape for tensor in manifest.inputs)
    most = next((tensor.max_shape[0] for tensor in manifest.inputs if tensor.max_shape), None)
    if batch is None or (most is None and batch == shapes[0][0]):
        return shapes
    if most is None or batch > most:
        takes = f"batches of 1 to {most}" if most else f"a batch of {shapes[0][0]} alone"
        raise UsageError(
            f"{name} cannot be measured in batches of {batch}",
            cause=f"it takes {takes}",
            next_step=f"export it with --max-batch {batch}, or leave --batch out",
        )
    return tuple(
        (batch, *tensor.shape[1:]) if tensor.max_shape and tensor.max_shape != tensor.shape else tensor.shape
        for tensor in manifest.inputs
    )


def _macs(manifest: Manifest, batch: int | None) -> int:
    """Multiply-adds of one run, which grow with the batch."""
    return manifest.model.macs * batch // manifest.inputs[0].shape[0] if batch else manifest.model.macs
