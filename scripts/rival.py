"""The other ways to run a model, one a file in `rivals/`, and what becomes of each.

A file there is found by its name and exports

- `VARIANTS`: the options of `convert` by the title under which a table shows them;
- `REQUIRES`: the distributions it takes, any of which may be missing;
- `convert(source, folder, **options)`: writes into `folder` what `open` needs;
- `LIBRARIES` and `open(folder, inputs, outputs) -> Session`, as a file of `edgekit/runtimes`.

Converters and runtimes refuse models, crash and hang, so both run in a process of their own. What came out is kept in a folder
and found again as long as the model, the rival's file and the versions of what it takes are the same.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import edgekit
from edgekit import isolation, parity, python_files, reference_inputs, runtimes
from edgekit.artifact import REFERENCE, Artifact, Parity
from edgekit.errors import EdgekitError
from edgekit.ops.ska import definition
from edgekit.recipe import Recipe

RIVALS = Path(__file__).parent / "rivals"
_TIME_LIMIT_S = 900.0
_PACKAGE = Path(edgekit.__file__).parent


@dataclass(frozen=True)
class Source:
    """What rivals convert: the module that edgekit exported, with its weights."""

    module: torch.nn.Module
    inputs: dict[str, torch.Tensor]
    output_names: tuple[str, ...]
    program: torch.export.ExportedProgram
    """The module as exporters take it. None of them knows SKA: its pure-PyTorch definition stands in, as it would in a
    user's own copy of the model."""


@dataclass(frozen=True)
class Rival:
    """A way to run a model."""

    title: str
    file: Path
    options: dict[str, Any]
    requires: tuple[str, ...]

    @property
    def missing(self) -> list[str]:
        """The distributions it takes that are not installed."""
        return [name for name in self.requires if not any(importlib.metadata.distributions(name=name))]


@dataclass(frozen=True)
class Made:
    """A rival as it can be measured, or why it cannot."""

    title: str
    subject: str
    """What `edgekit.profile` takes, unless it failed."""
    sqnr_db: float | None = None
    max_error_over_spread: float | None = None
    failure: str = ""


def find(folder: Path = RIVALS) -> Iterator[Rival]:
    """The rivals in `folder`, in the order of their files' names."""
    for file in sorted(folder.glob("*.py")):
        module = python_files.load(file)
        for title, options in module.VARIANTS.items():
            yield Rival(title, file, options, module.REQUIRES)


def make(rival: Rival, artifact: Artifact, kept: Path) -> Made:
    """`rival` made from the model of `artifact` and judged by its reference, in a folder of its own in `kept`."""
    if rival.missing:
        return Made(rival.title, "", failure=f"not installed: {', '.join(rival.missing)}")
    name = "".join(letter if letter.isalnum() else "-" for letter in f"{artifact.manifest.model.name}-{rival.title}")
    folder, key = kept / name, _key(rival, artifact)
    try:
        record = json.loads((folder / "made.json").read_text())
        if record.pop("key") == key:
            return replace(Made(**record), subject=_subject(rival, folder / "model"))  # the rival's file may have moved
    except (OSError, ValueError):
        pass  # not made yet, or interrupted: make it
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "model").mkdir(parents=True)
    made = _made(rival, artifact, folder / "model")
    (folder / "made.json").write_text(json.dumps({"key": key, **asdict(made)}))
    return made


def _subject(rival: Rival, folder: Path) -> str:
    """What `edgekit.profile` takes for what `rival` wrote into `folder`."""
    return f"{rival.file}:{folder}"


def _made(rival: Rival, artifact: Artifact, folder: Path) -> Made:
    subject = _subject(rival, folder)
    reference = artifact.directory / REFERENCE
    try:
        for stage, arguments in (
            ("convert", (artifact.manifest.recipe, rival.file, folder, rival.options)),
            ("judge", (subject, reference)),
        ):
            with isolation.Worker() as worker:
                answer = worker.call(f"{__file__}:{stage}", *arguments, stage=stage, time_limit_s=_TIME_LIMIT_S)
    except EdgekitError as error:
        return Made(rival.title, subject, failure=one_line(error))
    assert isinstance(answer, Parity)
    return Made(rival.title, subject, answer.sqnr_db, answer.max_error_over_spread, answer.reason or "")


def convert(recipe: Recipe, file: Path, folder: Path, options: dict[str, Any]) -> None:
    """Run a rival's `convert` on the model of `recipe`; called in a process of its own."""
    torch.set_num_threads(1)
    python_files.load(file).convert(source(recipe), folder, **options)


def judge(subject: str, reference: Path) -> Parity:
    """Run `subject` on the inputs in `reference` and compare with the eager outputs there; called in a process of its own.
    Tensors go by their order: runtimes rename them."""
    inputs, expected = reference_inputs.read(reference)
    with runtimes.open(subject) as session:
        session.set_threads(1)
        found = [session.execute(list(arrays.values())) for arrays in inputs]
    outputs = [dict(zip(wanted, arrays, strict=True)) for wanted, arrays in zip(expected, found, strict=True)]
    return parity.compare(expected, outputs, bound_sqnr_db=60.0)


def source(recipe: Recipe) -> Source:
    """The model of `recipe` as rivals take it."""
    from edgekit import sources
    from edgekit.program import capture

    loaded = sources.load(recipe)
    names = loaded.output_names or capture(loaded.module, loaded.inputs).functions["forward"].output_names
    program = torch.export.export(loaded.module, tuple(loaded.inputs.values()))
    return Source(loaded.module, loaded.inputs, names, program.run_decompositions({torch.ops.edgekit.ska.default: definition}))


def one_line(error: EdgekitError) -> str:
    """What failed and why, on one line of a table."""
    text = " ".join(f"{error.what}: {error.cause}".split()).replace("|", "/")
    return text if len(text) <= 200 else f"{text[:200]}..."


def _key(rival: Rival, artifact: Artifact) -> str:
    """Everything that decides what becomes of a rival."""
    files = [rival.file, Path(__file__), *sorted(_PACKAGE.glob("models/*.py")), *sorted(_PACKAGE.glob("ops/*.py"))]
    versions = {name: importlib.metadata.version(name) for name in ("torch", *rival.requires)}
    decides = [artifact.manifest.model.weights_sha256, versions, rival.options]
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
