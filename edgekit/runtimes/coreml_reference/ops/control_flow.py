"""Branches, loops and lists of tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from edgekit.runtimes.coreml_reference.ops import Region


@dataclass(frozen=True)
class _List:
    """A list of tensors of one shape; what was never written is zero."""

    items: tuple[Tensor, ...]
    blank: Tensor

    def with_item(self, index: int, value: Tensor) -> _List:
        items = self.items + (self.blank,) * (index + 1 - len(self.items))
        return replace(self, items=(*items[:index], value, *items[index + 1 :]))


def cond(pred: bool, true: Region, false: Region) -> list[Any]:
    return true() if pred else false()


def while_loop(loop_vars: list[Any], condition: Region, body: Region) -> list[Any]:
    while bool(condition(*loop_vars)[0]):
        loop_vars = body(*loop_vars)
    return loop_vars


def make_list(elem_shape: list[Any], init_length: int = 1, dynamic_length: bool = True, dtype: str = "fp32") -> _List:
    """A size that is known only when the first element is written counts as 1 until then."""
    blank = torch.zeros([1 if isinstance(size, str) else int(size) for size in elem_shape])
    return _List((blank,) * init_length, blank)


def list_length(ls: Any) -> Tensor:
    return torch.tensor(len(ls.items), dtype=torch.int32)


def list_read(ls: Any, index: int) -> Tensor:
    read: Tensor = ls.items[index]
    return read


def list_write(ls: Any, index: int, value: Tensor) -> _List:
    """A list too short for the index grows."""
    written: _List = ls.with_item(index, value)
    return written


def list_gather(ls: Any, indices: list[int]) -> Tensor:
    return torch.stack([ls.items[index] for index in indices])


def list_scatter(ls: Any, indices: list[int], value: Tensor) -> _List:
    for index, item in zip(indices, value, strict=True):
        ls = ls.with_item(index, item)
    scattered: _List = ls
    return scattered
