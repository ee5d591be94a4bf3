"""The artifact: a directory with the model file, its `manifest.json` and the `reference.npz` that lets anyone check it.

A directory appears whole or not at all, and says if it was changed afterwards.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from edgekit.errors import ArtifactError
from edgekit.quantize.plan import Assignment
from edgekit.recipe import Recipe
from edgekit.typed_yaml import Frozen

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
REFERENCE = "reference.npz"
PLAN = "plan.yaml"
"""Of a quantized artifact: what each operator became, to be edited and applied again."""


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
    max_shape: tuple[int, ...] | None = None
    """Its shape in the largest batch, where the batch is dynamic: `shape` is then that of the example."""
    preprocessing: Preprocessing | None = None


def _inside(path: str) -> str:
    """An artifact comes from anywhere: the files it lists must be its own."""
    if PurePosixPath(path).is_absolute() or not PurePosixPath(path).parts or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{path!r} is no path inside the artifact")
    return path


class File(Frozen):
    """A file of the artifact; a directory (`.mlpackage`) is listed file by file."""

    path: Annotated[str, AfterValidator(_inside)]
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
    operators: int
    """Calls in the graph that was lowered."""
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
    approximate: bool = False
    """Whether it may move the outputs: the recipe asked for it."""
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
    """Is the conversion right, and is the precision enough? Each against PyTorch eager in fp32; where the recipe asks for
    approximations, the conversion against the graph with those alone."""

    reference: str
    runtime: str | None
    conversion: Parity
    precision: Parity
    stand_in_sqnr_db: float | None = None
    """Of what stands in for this runtime elsewhere, against this runtime: the worst over reference inputs and outputs. Null
    where nothing does, and where it ran itself."""


class Calibration(Frozen):
    """The samples by which ranges were found."""

    source: str
    """The name of the folder or file; `given` for a user's own samples."""
    samples: int
    sha256: str


class Speed(Frozen):
    """The median latency of the quantized artifact over that of the same model's in floating point, both measured interleaved:
    below 1 it is faster. Null, with the reason, where they could not be measured."""

    ratio: float | None = None
    low: float | None = None
    """The ends of its 95 % interval."""
    high: float | None = None
    verdict: str = "not measured"
    """In words: faster by 1.31x [1.28, 1.34]."""
    reason: str | None = None

    @property
    def is_slower(self) -> bool:
        """Whether quantizing made it slower."""
        return self.low is not None and self.low > 1


class Quantization(Frozen):
    """What was quantized to what, what was not and why."""

    scheme: str
    sites: tuple[Assignment, ...]
    calibration: Calibration | None
    ranges: str
    """How the ranges of activations were told from what was seen."""
    scaled: tuple[str, ...] = ()
    """The operators whose channels were scaled beforehand, between them and those that read them."""
    bias_corrected: bool = False
    """Whether biases make up for what quantizing a weight shifts the mean of its layer's result by."""
    speed: Speed

    @property
    def told_speed(self) -> str:
        """How the artifact compares with its original, as a sentence."""
        named = f"{self.scheme} beside floating point"
        if self.speed.ratio is None:
            return f"{named} was not measured: {self.speed.reason}."
        return f"{'Warning: ' if self.speed.is_slower else ''}{named}: {self.speed.verdict}."


class Manifest(BaseModel):
    """`manifest.json`, schema version 1."""

    schema_version: int = SCHEMA_VERSION
    model: Model
    target: str
    precision: str
    quantization: Quantization | None = None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    files: Annotated[tuple[File, ...], Field(min_length=1)]
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

    @property
    def more_precise(self) -> str:
        """What to ask for where the precision is not enough, in words."""
        asked = self.recipe.quantize
        if asked is None:
            return "--precision fp32"
        if asked.is_plan:
            return "a plan that leaves more in floating point"
        if asked.scheme == "mixed":
            return "a wider bound" if asked.least_sqnr_db is None else "a higher --least-sqnr-db"
        return f"--quantize mixed --least-sqnr-db {self.parity.precision.bound_sqnr_db:g}"

    def sealed(self) -> Manifest:
        """The same manifest with its digest."""
        return self.model_copy(update={"digest": _digest(json.loads(self.model_dump_json()))})


def _digest(content: dict[str, Any]) -> str:
    """The SHA-256 of a manifest as read, all but its digest: an added key shows as much as a changed one."""
    rest = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


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
        """Bytes the model takes on a device (the manifest, the reference and the plan stay at home)."""
        return sum(file.size_bytes for file in self.manifest.files if file.path not in (REFERENCE, PLAN))

    @property
    def sha256(self) -> str:
        """The hash of the model's files, in the manifest's order."""
        return hashlib.sha256("".join(file.sha256 for file in self.manifest.files).encode()).hexdigest()


def load(directory: Path) -> Artifact:
    """The artifact in `directory`, its files checked against the manifest. Raises ArtifactError for whatever is missing,
    cut short, changed since, unreadable, or written by a newer edgekit."""
    try:
        manifest = _read_manifest(directory)
        for file in manifest.files:
            _check_file(directory, file)
    except OSError as error:
        raise ArtifactError(
            f"{error.filename or directory} cannot be read", cause=str(error.strerror), next_step="check its permissions"
        ) from error
    return Artifact(directory, manifest)


def _check_file(directory: Path, file: File) -> None:
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


_AGAIN = "export it again, or copy it again from where it was whole"


def _read_manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST
    if not path.is_file():
        raise _no_artifact(directory)
    try:
        data = json.loads(path.read_bytes())
        version = data["schema_version"]
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path} is damaged", cause="it is no text", next_step=_AGAIN) from error
    except (ValueError, KeyError, TypeError) as error:
        cause = f"it is no JSON: {error}" if isinstance(error, ValueError) else "it has no schema_version"
        raise ArtifactError(f"{path} is damaged", cause=cause, next_step=_AGAIN) from error
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {version!r}",
            cause=f"this edgekit reads version {SCHEMA_VERSION}",
            next_step="install the edgekit that wrote it (its `versions` entry tells), or a newer one",
        )
    if data.get("digest") != _digest(data):
        raise ArtifactError(f"{path} was edited", cause="its digest does not match its content", next_step=_AGAIN)
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{path} is damaged", cause=f"{key}: {first['msg']}", next_step=_AGAIN) from error


def _no_artifact(directory: Path) -> ArtifactError:
    """The error for a place that holds no manifest, with the artifact that was probably meant."""
    cause = "no such directory"
    if directory.exists():
        cause = f"it holds no {MANIFEST}" if directory.is_dir() else "it is a file"
    inside = sorted(str(manifest.parent) for manifest in directory.glob(f"*/{MANIFEST}")) if directory.is_dir() else []
    near = inside or [str(p) for p in directory.parents if (p / MANIFEST).is_file()]
    hint = (
        "give the directory that `edgekit export` wrote; a model file alone is for `edgekit profile`, `inspect`, edgekit.open()"
    )
    return ArtifactError(
        f"{directory} is not an edgekit artifact",
        cause=cause,
        next_step=f"did you mean {' or '.join(near[:3])}?" if near else hint,
    )


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `manifest`, sealed, into `directory`."""
    (directory / MANIFEST).write_text(manifest.sealed().model_dump_json(indent=1) + "\n", encoding="utf-8")


def sha256_of(path: Path, *others: Path) -> str:
    """The SHA-256 of a file's bytes; of several files, that of their hashes in a row."""
    if others:
        return hashlib.sha256("".join(map(sha256_of, (path, *others))).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(directory: Path, model_files: list[Path]) -> tuple[File, ...]:
    """`model_files` (files or packages below `directory`), the reference and the plan if there is one, each with its size and
    hash."""
    paths: list[Path] = []
    for model_file in model_files:
        paths += sorted(p for p in model_file.rglob("*") if p.is_file()) if model_file.is_dir() else [model_file]
    paths += [directory / name for name in (REFERENCE, PLAN) if (directory / name).is_file()]
    return tuple(
        File(path=p.relative_to(directory).as_posix(), size_bytes=p.stat().st_size, sha256=sha256_of(p)) for p in paths
    )
