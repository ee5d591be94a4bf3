"""Where the files that ship with edgekit lie: inside the wheel, or beside the package in a source checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """The folder `name` ("recipes", "device_profiles" or "claims")."""
    shipped = _PACKAGE / "_data" / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / name


def names(kind: str) -> list[str]:
    """The stems of the YAML files in the folder `kind`."""
    return sorted(path.stem for path in folder(kind).glob("*.yaml"))
