"""Why a checkpoint does not fit: the likeliest cause, and what to do about it."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit import models
from edgekit.checkpoint import without_counters
from edgekit.models import Variant

Shapes = dict[str, tuple[int, ...]]
Diagnosis = tuple[str, str]
"""The cause and the next step."""

_ALIKE = 0.9
"""The share of names and shapes in common from which one state dict is taken for a changed copy of another."""


def likeliest_cause(checkpoint: dict[str, Tensor], expected: dict[str, Tensor], variant: Variant) -> Diagnosis:
    """The cause and the next step for a checkpoint whose keys or shapes are not those `variant` expects."""
    found, wanted = _shapes(checkpoint), _shapes(expected)
    return (
        _prefixed(found, wanted)
        or _other_input_size(found, wanted, variant)
        or _other_classes(found, wanted)
        or _other_variant(found, wanted, variant)
        or _folded(found, wanted)
        or _other_architecture(found, wanted)
        or ("it is a changed or partial copy of this architecture", "give the checkpoint as published")
    )


def _prefixed(found: Shapes, wanted: Shapes) -> Diagnosis | None:
    roots = {name.split(".")[0] for name in found}
    if len(roots) != 1:
        return None
    prefix = f"{roots.pop()}."
    if len({name.removeprefix(prefix) for name in found} & set(wanted)) < len(wanted) / 2:
        return None
    return (
        f"all its names begin with {prefix!r}, which this model's do not",
        f"save it without: {{name.removeprefix({prefix!r}): tensor for name, tensor in state.items()}}",
    )


def _other_input_size(found: Shapes, wanted: Shapes, variant: Variant) -> Diagnosis | None:
    """Input sizes at which every shape would fit; neighbouring sizes can share their tables."""
    if set(found) != set(wanted):
        return None
    own = variant.input_shape[-1]
    fitting = [str(s) for s in variant.input_sizes if s != own and shapes_of(variant.at_size(s)) == found]
    if not fitting:
        return None
    return (
        f"it was made for another input size ({' or '.join(f'{s}x{s}' for s in fitting)}), whose tables have other shapes",
        f"give --input-size {' or '.join(fitting)}, or fine-tune it at {own}x{own} first",
    )


def _other_classes(found: Shapes, wanted: Shapes) -> Diagnosis | None:
    """Where all heads agree on them, a variant is built with the checkpoint's classes and never comes here."""
    misshaped = [name for name in wanted if name in found and found[name] != wanted[name]]
    if set(found) != set(wanted) or not misshaped or not all(name.startswith("head") for name in misshaped):
        return None
    return (
        f"its heads have different classes: {', '.join(f'{name} {list(found[name])}' for name in misshaped)}",
        "train all heads on the same classes, or build the model as it is in a file.py:factory and export that",
    )


def _other_variant(found: Shapes, wanted: Shapes, variant: Variant) -> Diagnosis | None:
    likeness = {
        name: _likeness(found, wanted if name == variant.name else shapes_of(other))
        for name, other in models.all_variants().items()
    }
    best = max(likeness, key=lambda name: likeness[name])
    if best == variant.name or likeness[best] < _ALIKE:
        return None
    return (
        f"these {'are' if likeness[best] == 1 else 'look like'} the weights of {best}",
        f"export {best} instead, or give the checkpoint of {variant.name}",
    )


def _folded(found: Shapes, wanted: Shapes) -> Diagnosis | None:
    """Folding takes each BatchNorm into its neighbour, and often the name of the two with it: `stem.c` and `stem.bn`
    become `stem`."""
    statistic = ".running_mean"
    norms = [name.removesuffix(statistic) for name in wanted if name.endswith(statistic)]
    if not norms or any(name.endswith(statistic) for name in found):
        return None
    pairs = [norm.rpartition(".")[0] for norm in norms]
    kept = [pair for pair in pairs if any(name.startswith(f"{pair}.") for name in found)]
    if len(kept) < len(pairs) / 2:
        return None
    return "it was saved after BatchNorm folding", "give the training checkpoint, where BatchNorm is still there"


def _other_architecture(found: Shapes, wanted: Shapes) -> Diagnosis | None:
    shared = len(set(found) & set(wanted))
    if shared >= len(wanted) / 2:
        return None
    few = f"only {shared}" if shared else "none"
    return f"{few} of its names belong to this model: it is another architecture's", "check --weights"


def _likeness(a: Shapes, b: Shapes) -> float:
    return len(a.items() & b.items()) / len(a.items() | b.items())


def _shapes(state: dict[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def shapes_of(variant: Variant) -> Shapes:
    """The shape of everything in the state dict of `variant`, counters left out."""
    with torch.device("meta"):
        return _shapes(without_counters(models.build(variant).state_dict()))
