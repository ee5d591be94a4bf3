"""Targets turn a program into files a runtime opens, one target a file.

A target file is found by its name and exports

- `lower(program, profile, directory) -> list[Path]`: writes the model's file or package, and names it;
- `PRECISIONS`: what the target can compute in, its usual one first;
- `DEVICE`: the device profile meant when none is named;
- `REQUIRES`: the packages it imports, which the export loads ahead;
- where `edgekit.bisection` can look into its artifacts, `converted(program)`: the graph that the converter reads, and inputs.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgekit.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from edgekit.profiles import RuntimeProfile


def names() -> list[str]:
    """Every target there is."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))


def find(name: str) -> ModuleType:
    """The target file `name`. Raises UnknownName with near names."""
    if name not in names():
        raise UnknownName("target", name, names())
    return importlib.import_module(f"{__name__}.{name}")


def precision_of(target: str, asked: str | None) -> str:
    """The precision to compute in. Raises UsageError for one the target does not have."""
    offered: tuple[str, ...] = find(target).PRECISIONS
    if asked is not None and asked not in offered:
        raise UsageError(
            f"target {target} does not compute in {asked}",
            cause=f"it offers {', '.join(offered)}",
            next_step=f"leave --precision out, or give {offered[0]}",
        )
    return asked or offered[0]


def lower_saved(target: str, saved: Path, profile: RuntimeProfile, directory: Path) -> list[Path]:
    """Lower the program that another process saved."""
    from edgekit import program

    files: list[Path] = find(target).lower(program.load(saved), profile, directory)
    return files
