"""Schemes decide what becomes of each operator, one scheme a file.

A scheme file is found by its name (`int8-dynamic` is `int8_dynamic.py`; `palettize-4` is `palettize.py`, given 4) and exports

- `assign(site, support, argument) -> Assignment`: what one operator becomes on a runtime, or why it stays in floating point;
- `CALIBRATED`: whether it needs calibration samples.

One that looks at the whole model exports `plan(request) -> Plan` in place of `assign`, and `BOUNDS` where it takes one of the
settings that bound what it costs.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from edgekit.errors import UnknownName, UsageError


def names() -> list[str]:
    """Every scheme there is; `-N` ends the name of one that takes a number."""
    return sorted(f"{name}-N" if hasattr(_load(name), "ARGUMENTS") else name for name in _stems())


def _stems() -> list[str]:
    return [info.name.replace("_", "-") for info in pkgutil.iter_modules(__path__)]


def _load(stem: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{stem.replace('-', '_')}")


def find(name: str) -> tuple[ModuleType, int | None]:
    """The scheme file that `name` means, and the number behind its name. Raises UnknownName with near names, and UsageError for
    a number that it does not take."""
    stem, _, number = name.rpartition("-")
    if name in _stems() and not hasattr(_load(name), "ARGUMENTS"):
        return _load(name), None
    if stem in _stems() and hasattr(_load(stem), "ARGUMENTS"):
        taken: tuple[int, ...] = _load(stem).ARGUMENTS
        if number.isdigit() and int(number) in taken:
            return _load(stem), int(number)
        raise UsageError(
            f"scheme {name} does not exist",
            cause=f"{stem} takes {', '.join(map(str, taken))}",
            next_step=f"try --quantize {stem}-{taken[-1]}",
        )
    raise UnknownName("scheme", name, [*names(), "fp16"])  # which is a precision, and gone from the recipe by now
