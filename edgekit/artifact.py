"""The artifact: a directory with the model file, its `manifest.json` and the `reference.npz` that lets anyone check it.

A directory appears whole or not at all, and says if it was changed afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ValidationError

from edgekit.errors import ArtifactError, OutputError, Unsupported
from edgekit.recipe import Recipe
from edgekit.typed_yaml import Frozen

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
REFERENCE = "reference.npz"

_STAGING_PREFIX = ".edgekit-staging-"


class Preprocessing(Frozen):
    """How a photograph becomes the input: shorter side to `input size / crop_fraction`, centre crop, scale to 0..1,
    then `(x - mean) / std` per RGB channel."""

    crop_fraction: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Tensor(Frozen):
    """An input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    preprocessing: Preprocessing | None = None


class File(Frozen):
    """A file of the artifact; a directory (`.mlpackage`) is listed file by file."""

    path: str
    size_bytes: int
    sha256: str


class Model(Frozen):
    """What was exported."""

    name: str
    weights: str
    """The checkpoint's file name, `seeded` for deterministic initialisation, or `module` for the user's own."""
    weights_sha256: str
    parameters: int
    """Parameters the artifact holds, after the passes."""
    macs: int
    """Multiply-adds of one run, counted on the graph that was lowered."""
    labels: str | None = None
    """The class list its outputs index, such as `imagenet1k`."""
    source: str = ""


class Refusal(Frozen):
    """A place a pass left alone, and why."""

    node: str
    reason: str


class PassRecord(Frozen):
    """What one pass did."""

    name: str
    changed: int
    refusals: tuple[Refusal, ...]


class Parity(Frozen):
    """One question and its answer. All metrics are null, with the `reason`, where the artifact cannot run."""

    sqnr_db: float | None
    """10 log10(signal power / error power), the worst over reference inputs and outputs; capped at 200."""
    max_error_over_spread: float | None
    """Largest absolute error over the reference output's standard deviation."""
    cosine: float | None
    top1_agreement: float | None
    """Share of rows whose largest entry agrees; null where outputs are not rows of scores."""
    bound_sqnr_db: float
    passed: bool | None
    reason: str | None = None


class ParityRecord(Frozen):
    """Is the conversion right, and is the precision enough? Each against PyTorch eager in fp32."""

    reference: str
    runtime: str | None
    conversion: Parity
    precision: Parity


class Manifest(BaseModel):
    """`manifest.json`, schema version 1."""

    schema_version: int = SCHEMA_VERSION
    model: Model
    target: str
    precision: str
    quantization: None = None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    files: tuple[File, ...]
    device: dict[str, Any]
    """The device profile in full."""
    passes: tuple[PassRecord, ...]
    parity: ParityRecord
    stages_s: dict[str, float]
    """Seconds each stage of the export took."""
    versions: dict[str, str]
    recipe: Recipe
    digest: str = ""
    """The SHA-256 of all the rest, so that an edited manifest shows."""

    def sealed(self) -> Manifest:
        """The same manifest with its digest."""
        content = self.model_dump_json(exclude={"digest"})
        return self.model_copy(update={"digest": hashlib.sha256(content.encode()).hexdigest()})


@dataclass(frozen=True)
class Artifact:
    """A published artifact: its directory and its manifest."""

    directory: Path
    manifest: Manifest
    from_cache: bool = False

    @property
    def model_file(self) -> Path:
        """The file or package a runtime opens."""
        return self.directory / Path(self.manifest.files[0].path).parts[0]

    def as_dict(self) -> dict[str, Any]:
        """The artifact as `--json` prints it."""
        manifest = self.manifest.model_dump(mode="json")
        return {"directory": str(self.directory), "from_cache": self.from_cache, "manifest": manifest}

    @property
    def size_bytes(self) -> int:
        """Bytes the model takes on a device (the manifest and the reference stay at home)."""
        return sum(file.size_bytes for file in self.manifest.files if file.path != REFERENCE)

    @property
    def sha256(self) -> str:
        """The hash of the model's files, in the manifest's order."""
        return hashlib.sha256("".join(file.sha256 for file in self.manifest.files).encode()).hexdigest()


def load(directory: Path) -> Artifact:
    """The artifact in `directory`, its files checked against the manifest. Raises ArtifactError for whatever is missing,
    cut short, changed since, or written by a newer edgekit."""
    manifest = _read_manifest(directory)
    for file in manifest.files:
        path = directory / file.path
        if not path.is_file():
            raise ArtifactError(f"{directory} lacks {file.path}", cause="the manifest lists it", next_step=_AGAIN)
        if path.stat().st_size != file.size_bytes:
            raise ArtifactError(
                f"{path} is not the file that was exported",
                cause=f"it has {path.stat().st_size} bytes, the manifest says {file.size_bytes}: cut short or edited",
                next_step=_AGAIN,
            )
        if sha256_of(path) != file.sha256:
            raise ArtifactError(
                f"{path} is not the file that was exported",
                cause="its SHA-256 differs from the manifest's: edited or damaged",
                next_step=_AGAIN,
            )
    return Artifact(directory, manifest)


_AGAIN = "export it again, or copy it again from where it was whole"


def _read_manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST
    if not path.is_file():
        raise ArtifactError(
            f"{directory} is not an edgekit artifact",
            cause=f"it holds no {MANIFEST}" if directory.is_dir() else "no such directory",
            next_step="give the directory that `edgekit export` wrote",
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged", cause=f"not a manifest: {error!r}", next_step=_AGAIN) from error
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {version!r}",
            cause=f"this edgekit reads version {SCHEMA_VERSION}",
            next_step="install the edgekit that wrote it (its `versions` entry tells), or a newer one",
        )
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{path} is damaged", cause=f"{key}: {first['msg']}", next_step=_AGAIN) from error
    if manifest.digest != manifest.sealed().digest:
        raise ArtifactError(f"{path} was edited", cause="its digest does not match its content", next_step=_AGAIN)
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `manifest`, sealed, into `directory`."""
    (directory / MANIFEST).write_text(manifest.sealed().model_dump_json(indent=1) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(directory: Path, model_files: list[Path]) -> tuple[File, ...]:
    """`model_files` (files or packages below `directory`) and the reference, each with its size and hash."""
    paths: list[Path] = []
    for model_file in model_files:
        paths += sorted(p for p in model_file.rglob("*") if p.is_file()) if model_file.is_dir() else [model_file]
    paths.append(directory / REFERENCE)
    return tuple(
        File(path=p.relative_to(directory).as_posix(), size_bytes=p.stat().st_size, sha256=sha256_of(p)) for p in paths
    )


def check_output(directory: Path, *, force: bool) -> None:
    """Refuse an output that exists (unless `force`) or cannot be written, before any work is done."""
    if directory.exists() and not force:
        raise OutputError(
            f"{directory} exists already",
            cause="edgekit does not overwrite what it did not just make",
            next_step="give another --output, or --force to replace it",
        )
    if directory.exists() and not (directory / MANIFEST).is_file():
        raise OutputError(
            f"{directory} exists and is not an edgekit artifact",
            cause="--force replaces artifacts only",
            next_step="give another --output, or remove it yourself",
        )
    with _explained(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_STAGING_PREFIX, dir=directory.parent):
            pass


def publish(built: Path, directory: Path, *, force: bool = False) -> None:
    """Make a copy of `built` appear as `directory`, whole or not at all."""
    check_output(directory, force=force)
    _sweep(directory.parent)
    with _explained(directory):
        staging = Path(tempfile.mkdtemp(prefix=f"{_STAGING_PREFIX}{os.getpid()}-", dir=directory.parent))
        try:
            fresh, replaced = staging / "fresh", staging / "replaced"
            shutil.copytree(built, fresh)
            if directory.exists():
                directory.rename(replaced)
            try:
                fresh.rename(directory)
            except OSError:
                if replaced.exists():
                    replaced.rename(directory)
                raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what a killed edgekit left behind in `folder`."""
    for leftover in folder.glob(f"{_STAGING_PREFIX}*-*"):
        owner = leftover.name.removeprefix(_STAGING_PREFIX).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn the file system's refusals into errors that say what to do."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)  # copytree gathers several into one Error
        if error.errno == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error):
            raise Unsupported(
                f"no space left to write {directory}",
                cause="the disk is full",
                next_step="free some space or give an --output on another disk; nothing was left half-written",
            ) from error
        raise OutputError(
            f"cannot write {directory}", cause=reason, next_step="give an --output that you may write to"
        ) from error
