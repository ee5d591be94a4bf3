"""A module's borders: which tensor goes to which argument of its forward, and what the tensors it returns are called."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import traceback
from collections.abc import Iterator, Sequence
from inspect import Parameter
from pathlib import Path

import torch
from torch.utils import _pytree as pytree

from edgekit.errors import ModelError, UnknownName

Tensors = dict[str, torch.Tensor]


def input_names(module: torch.nn.Module, count: int) -> list[str]:
    """The names of the first `count` arguments of the module's forward. Raises ModelError when it takes fewer."""
    named, more = _accepted(module)
    if more:
        named += [f"input_{index}" for index in range(len(named), count)]
    if len(named) < count:
        raise ModelError(
            f"{type(module).__name__}.forward takes {len(named)} inputs, {count} shapes were given",
            cause=f"its arguments are {', '.join(named)}",
            next_step="give one --input-shape for each argument of forward",
        )
    return named[:count]


def arguments(module: torch.nn.Module, inputs: Tensors) -> tuple[tuple[torch.Tensor, ...], Tensors, list[str]]:
    """What to call the module with: the positional and the keyword arguments, and the inputs' names in that order.

    Inputs go by the names of forward's arguments; names that are none of forward's are labels, in forward's order. Raises
    UnknownName when some are and some are not, and ModelError for an argument that is missing or is no tensor.
    """
    for name, given in inputs.items():
        if not isinstance(given, torch.Tensor):
            raise ModelError(
                f"input {name!r} is no tensor",
                cause=f"it is a {type(given).__name__}",
                next_step="give a tensor for every input, and set what is no tensor in the module or by forward's defaults",
            )
    positional, more = _accepted(module, keyword_only=False)
    named, _ = _accepted(module)
    known = [*named, *(input_names(module, len(inputs)) if more else [])]
    unknown = [name for name in inputs if name not in known]
    if len(unknown) == len(inputs) and not _takes_any_name(module):
        return tuple(inputs.values()), {}, list(inputs)
    if unknown and not _takes_any_name(module):
        raise UnknownName(f"input of {type(module).__name__}.forward", unknown[0], named)
    if missing := [name for name in _required(module) if name not in inputs]:
        raise ModelError(
            f"{type(module).__name__}.forward needs its argument {missing[0]!r} too",
            cause=f"the inputs given are {', '.join(inputs)}",
            next_step="give an example of every argument that has no default",
        )
    by_place: list[str] = []
    for name in [*positional, *(name for name in known if name not in named)]:
        if name not in inputs:
            break  # left at its default: those after it go by name
        by_place.append(name)
    by_name = [name for name in [*known, *unknown] if name in inputs and name not in by_place]
    return tuple(inputs[name] for name in by_place), {name: inputs[name] for name in by_name}, [*by_place, *by_name]


def _accepted(module: torch.nn.Module, *, keyword_only: bool = True) -> tuple[list[str], bool]:
    """The names of forward's arguments, and whether it takes more without a name."""
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, *([Parameter.KEYWORD_ONLY] if keyword_only else []))
    return [p.name for p in parameters if p.kind in kinds], any(p.kind == Parameter.VAR_POSITIONAL for p in parameters)


def _takes_any_name(module: torch.nn.Module) -> bool:
    return any(p.kind == Parameter.VAR_KEYWORD for p in inspect.signature(module.forward).parameters.values())


def _required(module: torch.nn.Module) -> list[str]:
    named, _ = _accepted(module)
    parameters = inspect.signature(module.forward).parameters
    return [name for name in named if parameters[name].default is Parameter.empty]


def call(module: torch.nn.Module, inputs: Tensors) -> object:
    """What the module returns for `inputs`, which stay as they are even where it writes to them."""
    positional, named, _ = arguments(module, {name: tensor.clone() for name, tensor in inputs.items()})
    with torch.no_grad():
        return module(*positional, **named)


def leaves(result: object) -> list[torch.Tensor]:
    """The tensors in what a module returned, in order; a None among them is left out."""
    return [leaf for _, leaf in _with_paths(result)]


def names(result: object, taken: Tensors) -> tuple[str, ...]:
    """The names of the tensors in what a module returned: dictionary keys and fields, `output` and a position for the rest.

    None of them is one of `taken`, the inputs. Raises ModelError unless all are tensors (or None) and there is one at least.
    """
    found = _with_paths(result)
    if not found or not all(isinstance(leaf, torch.Tensor) for _, leaf in found):
        other = next((type(leaf).__name__ for _, leaf in found if not isinstance(leaf, torch.Tensor)), "nothing")
        raise ModelError(
            "the module's outputs are not all tensors",
            cause=f"forward returned {type(result).__name__}" + (f" with {other} in it" if found else ""),
            next_step="return a tensor, or a tuple, dictionary or dataclass of tensors",
        )
    given: list[str] = []
    for path, _ in found:
        name = _name(path, alone=len(found) == 1)
        while name in taken or name in given:
            name = f"output_{name}"
        given.append(name)
    return tuple(given)


def _name(path: tuple[object, ...], *, alone: bool) -> str:
    keys = [re.sub(r"\W", "_", _key_of(entry), flags=re.ASCII) for entry in path]  # Core ML keeps no other
    if alone and all(key.isdigit() for key in keys):
        return "output"
    joined = "_".join(keys)
    return joined if joined.isidentifier() else f"output_{joined}"


def _key_of(entry: object) -> str:
    """The dictionary key, position or field name in one entry of an output's path."""
    return next(str(getattr(entry, kind)) for kind in ("key", "idx", "name") if hasattr(entry, kind))


def _with_paths(result: object) -> list[tuple[tuple[object, ...], torch.Tensor]]:
    """The leaves with their paths. A dataclass is made known to PyTorch, so that it is taken apart here and in the capture."""
    while True:
        found = pytree.tree_flatten_with_path(result)[0]
        unknown = {type(leaf) for _, leaf in found if dataclasses.is_dataclass(leaf)}
        if not unknown:
            return [(path, leaf) for path, leaf in found if leaf is not None]
        for kind in unknown:
            torch.export.register_dataclass(kind)


@contextlib.contextmanager
def state_kept(module: torch.nn.Module) -> Iterator[None]:
    """Put back, at the end, every buffer that a forward writes to or replaces: a counter, a cache."""
    held = [
        (owner, name, tensor, tensor.clone())
        for owner in module.modules()
        for name, tensor in owner._buffers.items()
        if tensor is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for owner, name, tensor, before in held:
                owner._buffers[name] = tensor
                if not torch.equal(tensor, before):
                    tensor.copy_(before)


@contextlib.contextmanager
def in_eval_mode(module: torch.nn.Module) -> Iterator[None]:
    """Evaluate with `module`, and leave each of its parts in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def user_line(frames: Sequence[traceback.FrameSummary]) -> str:
    """The innermost line of the user's among `frames`, outside torch and edgekit, in brackets; empty when there is none."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    found = [f for f in frames if not f.filename.startswith((*ours, "<"))]
    return f" (at {found[-1].filename}:{found[-1].lineno}: {found[-1].line})" if found else ""
