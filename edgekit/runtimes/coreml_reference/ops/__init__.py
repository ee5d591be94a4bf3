"""The operators of ML programs, one family a file, computed with torch.

An operator is a public function whose name is the MIL operator's and whose parameters are the MIL parameters. The
annotations say how each argument arrives:

- `Tensor`: floats always as float32 (the interpreter rounds results where it must), integers and bool as declared;
- `int`, `float`, `bool`, `str`, and lists of them: Python values;
- `list[Tensor]`: as many tensors as the operation has;
- `State`: a cell that outlives the run; `Region`: a nested block, called with its inputs;
- `Opset`: the iOS version whose operator set the function is written in.

What an operator computes follows the docstrings of coremltools' own definitions.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NewType

import torch
from torch import Tensor

FLOATS = ("fp16", "fp32", "fp64")
WHOLE = {
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.int32,  # torch computes with few unsigned types
    "int32": torch.int32,
    "uint32": torch.int64,
    "int64": torch.int64,
    "bool": torch.bool,
}
"""What torch computes MIL's types without fractions in."""

Operator = Callable[..., Any]

Region = Callable[..., list[Any]]

Opset = NewType("Opset", int)


@dataclass
class State:
    """A tensor that operations read and write, and that the next run finds as the last one left it."""

    value: Tensor


LEFT_OUT = {
    "random_bernoulli": "random numbers cannot be compared with another generator's",
    "random_categorical": "random numbers cannot be compared with another generator's",
    "random_normal": "random numbers cannot be compared with another generator's",
    "random_uniform": "random numbers cannot be compared with another generator's",
    "conv_quantized": "coremltools marks it experimental, and no converter writes it",
}
"""Operators that are not executed, and why."""


@functools.cache
def operators() -> dict[str, Operator]:
    """Every operator by its name."""
    found: dict[str, Operator] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                found[name] = function
    return found
