"""Why a checkpoint does not fit: the likeliest cause, and what to do about it."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit import models
from edgekit.models import Variant

Shapes = dict[str, tuple[int, ...]]


def likeliest_cause(checkpoint: dict[str, Tensor], expected: dict[str, Tensor], variant: Variant) -> tuple[str, str]:
    """The cause and the next step for a checkpoint whose keys or shapes are not those `variant` expects."""
    found, wanted = _shapes(checkpoint), _shapes(expected)
    size = _other_input_size(found, wanted, variant)
    if size is not None:
        return (
            f"it was made for another input size ({size}x{size}), whose tables have other shapes",
            f"give --input-size {size}, or fine-tune it at {variant.input_shape[-1]}x{variant.input_shape[-1]} first",
        )
    for name, other in models.all_variants().items():
        if name != variant.name and _shapes_of(other) == found:
            return f"these are the weights of {name}", f"export {name} instead, or give the checkpoint of {variant.name}"
    misshaped = [name for name in wanted if name in found and found[name] != wanted[name]]
    if misshaped and all(name.startswith("head") for name in misshaped) and set(found) == set(wanted):
        return (
            f"it classifies {found[misshaped[0]][0]} classes, {variant.name} {wanted[misshaped[0]][0]}",
            "build the model with that many classes in a file.py:factory and export that",
        )
    if not any(".running_mean" in name for name in found) and any(".running_mean" in name for name in wanted):
        return "it was saved after BatchNorm folding", "give the training checkpoint, where BatchNorm is still there"
    shared = len(set(found) & set(wanted))
    if shared < len(wanted) / 2:
        return f"only {shared} of its names belong to this model: it is another architecture's", "check --weights"
    return "it is a changed or partial copy of this architecture", "give the checkpoint as published"


def _shapes(state: dict[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _shapes_of(variant: Variant) -> Shapes:
    with torch.device("meta"):
        return _shapes(models.build(variant).state_dict())


def _other_input_size(found: Shapes, wanted: Shapes, variant: Variant) -> int | None:
    """A legal input size at which every shape would fit; None when the size is not what differs."""
    if set(found) != set(wanted):
        return None
    own = variant.input_shape[-1]
    fitting = [s for s in variant.input_sizes if s != own and _shapes_of(variant.at_size(s)) == found]
    return min(fitting, key=lambda s: abs(s - own), default=None)
