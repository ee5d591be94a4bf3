"""What is evaluated, opened: an artifact, a model file, a model's name, or the fp32 model an artifact was made from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit import artifact, rebuild, recipe, runtimes, sources
from edgekit.artifact import Artifact, Tensor
from edgekit.datasets import Sample, inputs_of
from edgekit.errors import UsageError
from edgekit.profiling import subject as subjects
from edgekit.profiling.measurement import Model
from edgekit.runtimes import Array, Session

if TYPE_CHECKING:
    from edgekit.recipe import Recipe
    from edgekit.sources import LoadedModel

_LOGITS = "logits"


@dataclass(frozen=True)
class Subject:
    """A model that classifies, opened."""

    name: str
    session: Session
    model: Model
    inputs: tuple[Tensor, ...]
    class_list: str | None
    """Of what its outputs index, where that is known."""
    identity: str
    """Changes when the model does, or what executes it."""
    weights: str | None = None
    """As a manifest names them, where that is known."""
    artifact: Artifact | None = None

    def described_as(self, other: Subject) -> Subject:
        """This subject; where it does not tell how its inputs are made or what its outputs mean, as a bare file does not, they
        are as those of `other`, which it is compared with."""
        known = {tensor.name: tensor.preprocessing for tensor in other.inputs}
        inputs = tuple(
            tensor.model_copy(update={"preprocessing": tensor.preprocessing or known.get(tensor.name)})
            for tensor in self.inputs
        )
        return dataclasses.replace(self, inputs=inputs, class_list=self.class_list or other.class_list)

    @property
    def output(self) -> str:
        """The output that holds the logits. Raises UsageError where none does."""
        specs = self.session.outputs
        found = specs if len(specs) == 1 else [spec for spec in specs if spec.name == _LOGITS]
        if len(found) != 1 or len(found[0].shape) != 2:
            raise UsageError(
                f"{self.name} does not classify",
                cause=f"its outputs are {', '.join(f'{spec.name} {list(spec.shape)}' for spec in specs)}",
                next_step="evaluate a model of one output [batch, classes], or of one called logits",
            )
        return found[0].name

    @property
    def classes(self) -> int:
        """How many it scores."""
        return next(spec.shape[1] for spec in self.session.outputs if spec.name == self.output)

    @property
    def batch(self) -> int:
        """How many samples it takes at once."""
        return self.inputs[0].shape[0]

    def logits(self, samples: Sequence[Sample]) -> Array:
        """[samples, classes]. The last batch is filled up with its last sample."""
        made = [inputs_of(sample, self.inputs) for sample in samples]
        made += made[-1:] * (-len(made) % self.batch)
        rows = []
        for start in range(0, len(made), self.batch):
            batch = made[start : start + self.batch]
            joined = {name: np.concatenate([one[name] for one in batch]) for name in batch[0]}
            rows.append(self.session.run(joined)[self.output])
        return np.concatenate(rows)[: len(samples)]


def open(name: str) -> Subject:
    """The subject that `runtimes.open` opens under this name. Raises what that raises."""
    path = Path(name)
    if path.is_dir() and path.suffix != ".mlpackage":
        return _of_artifact(artifact.load(path), name)
    if path.exists() or runtimes.own(name):
        return _of_file(name)
    runtime, model = runtimes.of_module(name)
    way = runtime.__name__.rpartition(".")[2]
    loaded = sources.load(recipe.from_request(model=model, target="onnx"))
    return _of_model(loaded, name, way, runtimes.open(name) if way != "eager" else None)


def made_from(one: Artifact) -> Subject:
    """The eager fp32 model that an artifact was made from, by its recipe. Raises ModelError when it is gone or another one."""
    asked: Recipe = one.manifest.recipe
    name = asked.model if asked.weights is None else f"{asked.model} with {asked.weights.name}"
    return _of_model(rebuild.source_of(one), name, "eager")


def _of_artifact(loaded: Artifact, name: str) -> Subject:
    session = runtimes.open(loaded.directory)
    manifest, model = loaded.manifest, subjects.describe(name).model
    identity = f"{loaded.sha256} {session.runtime}"
    named = manifest.model
    return Subject(name, session, model, manifest.inputs, named.labels, identity, weights=named.weights, artifact=loaded)


def _of_file(name: str) -> Subject:
    session = runtimes.open(name)
    model = subjects.describe(name).model if Path(name).exists() else Model(name=name, target="own")
    return Subject(name, session, model, _tensors(session), None, f"{_hash(name)} {session.runtime}")


def _of_model(loaded: LoadedModel, name: str, way: str, session: Session | None = None) -> Subject:
    from edgekit.runtimes import eager

    session = session or eager.session(loaded)
    assert isinstance(session, eager.EagerSession)  # as all that run modules are
    inputs = tuple(tensor.model_copy(update={"preprocessing": loaded.preprocessing}) for tensor in _tensors(session))
    shapes = [list(tensor.shape) for tensor in inputs]
    identity = f"{loaded.name} {loaded.weights_sha256} {shapes} {session.runtime}"
    model = Model(name=loaded.name, target=way, precision="fp32", size_bytes=session.weight_bytes)
    return Subject(name, session, model, inputs, loaded.labels, identity, weights=loaded.weights)


def _tensors(session: Session) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=spec.name, shape=spec.shape, dtype=spec.dtype) for spec in session.inputs)


def _hash(name: str) -> str:
    """Of the files of a model file, a package, or a runtime of the user's own and what it opens."""
    path = Path(name if Path(name).exists() else name.rpartition(":")[2])
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return hashlib.sha256("".join(map(artifact.sha256_of, files)).encode()).hexdigest()
