"""Arguments: from a package's constants and references to what an operator's annotations ask for."""

from __future__ import annotations

import functools
import inspect
import itertools
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.runtimes.coreml_reference.ops import Operator


@dataclass(frozen=True)
class Fixed:
    """A part of an argument that no run changes."""

    value: Any


@dataclass(frozen=True)
class Argument:
    """What a parameter takes: its parts, fixed or the names of values, and how they become one value."""

    parts: tuple[Fixed | str, ...]
    collect: Callable[[list[Any]], Any]

    @property
    def names(self) -> list[str]:
        """The values it needs."""
        return [part for part in self.parts if isinstance(part, str)]

    def value(self, values: Mapping[str, Any]) -> Any:
        """The argument, given the values there are."""
        return self.collect([values[part] if isinstance(part, str) else part.value for part in self.parts])


@functools.cache
def parameters(operator: Operator) -> dict[str, Any]:
    """The parameters of an operator with their annotations; of `T | None` the `T`."""
    hints = typing.get_type_hints(operator)
    found = {}
    for name in inspect.signature(operator).parameters:
        options = typing.get_args(hints[name])
        found[name] = options[0] if type(None) in options else hints[name]
    return found


def collector(annotation: Any) -> Callable[[list[Any]], Any]:
    """How the parts of an argument become what `annotation` says."""
    if typing.get_origin(annotation) is list:
        (item,) = typing.get_args(annotation)
        return _whole if item in (Tensor, Any) else _numbers
    if annotation in (int, float, bool):
        return functools.partial(_number, annotation)
    return _only


def as_tensor(value: Any) -> Any:
    """A constant as coremltools reads it, as a tensor: floats as float32, wide unsigned integers as int64; strings and
    lists as they are."""
    if not isinstance(value, np.ndarray | np.generic | bool | int | float):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "USO":
        return array.tolist()
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    elif array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _only(parts: list[Any]) -> Any:
    (part,) = parts
    return part


def _number(kind: type, parts: list[Any]) -> Any:
    part = _only(parts)
    return kind(part.item() if isinstance(part, Tensor) else part)


def _whole(parts: list[Any]) -> list[Any]:
    """The parts themselves; a constant that is a list already stays one."""
    if len(parts) == 1 and isinstance(parts[0], list):
        return list(parts[0])
    return parts


def _numbers(parts: list[Any]) -> list[Any]:
    """One vector's elements, or one number of each part."""
    return list(itertools.chain.from_iterable(part.flatten().tolist() for part in parts))
