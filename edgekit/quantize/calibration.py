"""Calibration samples: from a folder of images, an .npz, or a user's own iterator."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from edgekit.borders import Tensors
from edgekit.errors import InputError

if TYPE_CHECKING:
    from edgekit import artifact
    from edgekit.recipe import Quantize
    from edgekit.sources import LoadedModel


@dataclass(frozen=True)
class Calibration:
    """The samples, and where they are from."""

    samples: list[Tensors]
    """Inputs by name; none where none were given."""
    source: str = ""

    @cached_property
    def digest(self) -> str:
        """The hash of all samples; empty without any."""
        found = hashlib.sha256()
        for sample in self.samples:
            for name, tensor in sample.items():
                found.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
                found.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return found.hexdigest() if self.samples else ""

    def record(self) -> artifact.Calibration | None:
        """What the manifest keeps; None without samples."""
        from edgekit import artifact

        return artifact.Calibration(source=self.source, samples=len(self.samples), sha256=self.digest) if self.samples else None


def read(settings: Quantize, model: LoadedModel) -> Calibration:
    """Up to `settings.samples` samples, spread evenly over its data, as the model takes them: each fills its batch. Raises
    InputError for data that is missing, empty, damaged, or does not fit."""
    from edgekit import artifact, batch, datasets

    if settings.calibration is None:
        return Calibration([])
    data = datasets.open(settings.calibration, "train")
    borders = [
        artifact.Tensor(
            name=name,
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            preprocessing=model.preprocessing,
        )
        for name, tensor in model.inputs.items()
    ]
    samples = [datasets.inputs_of(data[place], borders) for place in data.spread(settings.samples)]
    tensors = [{name: torch.from_numpy(sample[name]) for name in model.inputs} for sample in samples]
    size = len(next(iter(model.inputs.values())))
    return Calibration([batch.of_size(sample, size) for sample in tensors], settings.calibration.name)


def given(samples: Iterable[Mapping[str, Tensor]], example: Tensors, count: int) -> Calibration:
    """Up to `count` of a user's own samples. Raises InputError for one that does not fit the example inputs."""
    found = []
    for index, sample in zip(range(count), samples, strict=False):
        for name, like in example.items():
            if name not in sample:
                raise InputError(
                    f"calibration sample {index} has no {name!r}",
                    next_step=f"give each sample's inputs by name: {', '.join(example)}",
                )
            if _described(sample[name]) != _described(like):
                raise InputError(
                    f"calibration sample {index} does not fit the model",
                    cause=f"{name!r} is {_described(sample[name])}, not {_described(like)}",
                    next_step="give samples as the model's forward takes them",
                )
            if not bool(sample[name].isfinite().all()):
                raise InputError(
                    f"calibration sample {index} holds NaN or infinity",
                    cause=f"in {name!r}",
                    next_step="correct or remove it: ranges cannot be told from it",
                )
        found.append({name: sample[name] for name in example})
    if not found:
        raise InputError(
            "there are no calibration samples",
            next_step="give at least one; 50 to 200 of the kind the model will see are usual",
        )
    return Calibration(found, "given")


def _described(given: object) -> str:
    return f"{given.dtype} {list(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
