"""Models, one architecture a file.

A model file is found by its name, the family's. It exports

- `VARIANTS: dict[str, Variant]`, whose names begin with the family's;
- `build(variant) -> nn.Module`, with the state-dict names of the published checkpoints.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgekit.artifact import Preprocessing
from edgekit.errors import UnknownName, UsageError

if TYPE_CHECKING:
    import torch

IMAGENET = Preprocessing(crop_fraction=0.9, interpolation="bicubic", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclasses.dataclass(frozen=True)
class Variant:
    """One published configuration. Claims are the source's words, never our measurements."""

    name: str
    arguments: Mapping[str, Any]
    """What the architecture's constructor takes."""
    input_shape: tuple[int, ...]
    """[B, 3, H, W] of the published evaluation."""
    input_sizes: range
    """Legal image heights and widths, in pixels."""
    published_params: float
    published_macs: float | None
    """None where no source gives it."""
    published_top1: float
    source: str
    preprocessing: Preprocessing = IMAGENET
    output_names: tuple[str, ...] = ("logits",)
    labels: str | None = "imagenet1k"

    def at_size(self, size: int | None) -> Variant:
        """This variant for square images of `size` pixels. Raises UsageError for a size it cannot take."""
        if size is None:
            return self
        if size not in self.input_sizes:
            legal = self.input_sizes
            raise UsageError(
                f"{self.name} cannot take images of {size}x{size}",
                cause=f"it takes {legal.start} to {legal[-1]} in steps of {legal.step}",
                next_step=f"try --input-size {min(legal, key=lambda s: (abs(s - size), s))}",
            )
        return dataclasses.replace(self, input_shape=(*self.input_shape[:2], size, size))

    def with_classes(self, classes: int) -> Variant:
        """This variant with heads for `classes` classes of its user's own, which no list here names."""
        return dataclasses.replace(self, arguments={**self.arguments, "classes": classes}, labels=None)

    def as_dict(self) -> dict[str, Any]:
        """The variant as `--json` prints it."""
        plain = {"input_sizes": list(self.input_sizes), "preprocessing": self.preprocessing.model_dump(mode="json")}
        return {**vars(self), **plain, "arguments": dict(self.arguments)}


def families() -> list[str]:
    """The names of the model files."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def variants(family: str) -> dict[str, Variant]:
    """The variants of one family, smallest first."""
    return cast(dict[str, Variant], importlib.import_module(f"{__name__}.{family}").VARIANTS)


def all_variants() -> dict[str, Variant]:
    """Every variant of every family."""
    return {name: variant for family in families() for name, variant in variants(family).items()}


def family_of(name: str) -> str | None:
    """The family a variant's name belongs to, by its prefix; None when no family has it."""
    matching = [family for family in families() if name == family or name.startswith(f"{family}_")]
    return max(matching, key=len, default=None)


def find(name: str) -> Variant:
    """The variant `name`; a family's name means its smallest. Raises UnknownName with near names, and UsageError for what
    reads as a path: nothing is there, or a model would not have been looked for."""
    family = family_of(name)
    members = variants(family) if family else {}
    if name == family:
        return next(iter(members.values()))
    if name not in members and (len(Path(name).parts) > 1 or Path(name).suffix):
        raise UsageError(f"{name} does not exist", next_step="check the path, or name a model: `edgekit models` lists them")
    if name not in members:
        raise UnknownName("model", name, [*all_variants(), *families()], listing="edgekit models")
    return members[name]


def build(variant: Variant) -> torch.nn.Module:
    """The module of `variant`, randomly initialised, in eval mode."""
    family = importlib.import_module(f"{__name__}.{family_of(variant.name)}")
    return cast("torch.nn.Module", family.build(variant)).eval()
