"""What an artifact consists of, read from its model file without running it: operators, weights, memory, what is delegated, and
for Core ML what may keep it off the Neural Engine.

A format is one file here, with `read(model_file, profile) -> Report`. What cannot be known is None, and `Report.unknown` says
why.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgekit import artifact, profiles, runtimes, targets
from edgekit.errors import ArtifactError
from edgekit.profiles import RuntimeProfile
from edgekit.runtimes import TensorSpec

FORMATS = {".onnx": "onnx", ".pte": "executorch", ".mlpackage": "coreml"}
"""The file here, and the target, of each suffix."""

Severity = Literal["error", "warning", "note"]
"""`error`: wrong numbers; `warning`: said to keep an operator off the Neural Engine; `note`: slow there, or costs memory."""


@dataclass(frozen=True)
class Weight:
    """A tensor that the file stores."""

    name: str
    """Its parameter's, as far as the format keeps names; else that of the operator that reads it."""

    dtype: str
    """As numpy calls it; types that numpy lacks, as the format does."""

    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True)
class Memory:
    """An estimate of what one run holds at once."""

    weights_bytes: int
    activations_bytes: int
    """The most that results of operators take at once."""

    at: str | None
    """The operator at which that is reached; None where the file does not tell."""

    method: str
    """How the estimate was made, and what it leaves out."""


@dataclass(frozen=True)
class Delegation:
    """How the operators divide between an accelerated backend and the runtime's own kernels."""

    delegates: Mapping[str, int]
    """How many parts went to each backend."""

    inside: int | None
    """Operators in these parts; None where a backend's format is not known."""

    outside: Mapping[str, int]
    """Operators left to the runtime's own kernels, by type."""

    @property
    def share(self) -> float | None:
        """The share of operators inside."""
        every = (self.inside or 0) + sum(self.outside.values())
        return None if self.inside is None or not every else self.inside / every


@dataclass(frozen=True)
class Place:
    """Where a rule of the linter applies."""

    operator: str
    name: str
    source: str
    """The weight it reads, or `after` the weight that was read last before it; empty where there is none."""

    found: str


@dataclass(frozen=True)
class Finding:
    """A rule of the linter and all the places where it applies."""

    rule: str
    severity: Severity
    why: str
    sources: tuple[str, ...]
    mends: str
    places: tuple[Place, ...]

    @property
    def operators(self) -> dict[str, int]:
        """The places by type of operator, the most frequent first."""
        return counted(place.operator for place in self.places)


@dataclass(frozen=True)
class Elsewhere:
    """An operator that Core ML would not run on the Neural Engine."""

    operator: str
    name: str
    unit: str
    able: tuple[str, ...]
    """All units that could run it."""

    cost: float | None
    """Its share of the model's estimated cost."""


@dataclass(frozen=True)
class Placement:
    """Core ML's own compute plan on this machine."""

    operators: Mapping[str, int]
    """How many operators each unit (`neural_engine`, `gpu`, `cpu`) would run."""

    cost: Mapping[str, float]
    """The share of the model's estimated cost that each unit would bear."""

    elsewhere: tuple[Elsewhere, ...]
    """The operators off the Neural Engine, the costliest first."""


@dataclass(frozen=True)
class Report:
    """An artifact as its model file describes it."""

    format: str
    operators: Mapping[str, int]
    """By type, the most frequent first; constants are none."""

    weights: tuple[Weight, ...]
    """The heaviest first."""

    activation_dtypes: Mapping[str, int]
    """How many results of operators have each type."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    largest_rank: int | None = None
    memory: Memory | None = None
    delegation: Delegation | None = None
    findings: tuple[Finding, ...] | None = None
    """The linter's, the gravest first; a heuristic, made from what others measured and wrote."""

    placement: Placement | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Why each of the above that is None is."""

    subject: str = ""
    size_bytes: int = 0
    """Of the model file, or of the whole package."""

    @property
    def weight_dtypes(self) -> dict[str, int]:
        """Bytes of weights by type, the most first."""
        sizes: Counter[str] = Counter()
        for weight in self.weights:
            sizes[weight.dtype] += weight.size_bytes
        return dict(sizes.most_common())

    @property
    def weights_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(weight.size_bytes for weight in self.weights)

    @property
    def may_leave(self) -> dict[str, int]:
        """Operators that a rule says do not run on the Neural Engine, each once, by type."""
        said = {p.name: p.operator for f in self.findings or () if f.severity == "warning" for p in f.places}
        return counted(said.values())

    def as_dict(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        record = dataclasses.asdict(self)
        if self.delegation is not None:
            record["delegation"]["share"] = self.delegation.share
        for name, specs in (("inputs", self.inputs), ("outputs", self.outputs)):
            record[name] = [_spec_as_dict(spec) for spec in specs]
        return {**record, "weights_bytes": self.weights_bytes, "weight_dtypes": self.weight_dtypes}


def _spec_as_dict(spec: TensorSpec) -> dict[str, Any]:
    """A tensor at the border; `choices` holds the least and the most of each axis."""
    choices = [[[sizes[0], sizes[-1]] for sizes in axes] for axes in spec.choices]
    return {**dataclasses.asdict(spec), "choices": choices}


def counted(kinds: Iterable[str]) -> dict[str, int]:
    """How often each occurs, the most frequent first."""
    return dict(Counter(kinds).most_common())


def inspect(subject: str | Path) -> Report:
    """The report on an artifact directory or a bare model file.

    The linter asks the artifact's device profile, or for a bare file that of its target's usual device. Raises ArtifactError
    for what is missing, damaged or of another format, and Unsupported for a Core ML model that is no ML program.
    """
    path = Path(subject)
    bare = path.is_file() or (path.is_dir() and path.suffix == ".mlpackage")
    loaded = None if bare else artifact.load(path)
    model_file = path if loaded is None else loaded.model_file
    if model_file.suffix not in FORMATS:
        raise ArtifactError(
            f"{path} cannot be inspected",
            cause=f"edgekit reads {', '.join(FORMATS)}, not {model_file.suffix or 'files without a suffix'}",
            next_step="give an artifact that `edgekit export` wrote, or one of these files",
        )
    target = FORMATS[model_file.suffix]
    if loaded is None:
        profile = profiles.for_target(profiles.load(targets.find(target).DEVICE), target)
    else:
        profile = RuntimeProfile.model_validate(loaded.manifest.device["runtimes"][target])
    report: Report = importlib.import_module(f"{__name__}.{target}").read(model_file, profile)
    if loaded is not None:  # it knows names and batches that the file may not
        inputs, outputs = runtimes.borders(loaded.manifest)
        report = dataclasses.replace(report, inputs=inputs, outputs=outputs)
    return dataclasses.replace(report, subject=str(path), size_bytes=_size_bytes(model_file))


def _size_bytes(model_file: Path) -> int:
    files = model_file.rglob("*") if model_file.is_dir() else [model_file]
    return sum(file.stat().st_size for file in files if file.is_file())
