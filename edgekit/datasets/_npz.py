"""Arrays of an `.npz`: what there is, told without reading any, and each read when it is asked for."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgekit.errors import InputError
from edgekit.runtimes import Array

LABELS, CLASSES = "labels", "classes"
_AGAIN = "write it again with numpy.savez, or copy it again: it may be cut short"


class Header(NamedTuple):
    """An array's type and shape."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]


def is_npz(path: Path) -> bool:
    """Whether the file calls itself an archive of arrays."""
    return path.is_file() and path.suffix == ".npz"


def headers(path: Path) -> dict[str, Header]:
    """What arrays it has. Raises InputError for a damaged one."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                with archive.open(entry) as stream:
                    version = np.lib.format.read_magic(stream)
                    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shape, _, dtype = reader(stream)
                    found[entry.removesuffix(".npy")] = Header(dtype, shape)
    # NotImplementedError is zipfile's word for a compression or an encryption that it does not know.
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
        raise InputError(f"{path} is no readable .npz", cause=str(error), next_step=_AGAIN) from error
    if not found:
        raise InputError(f"{path} is empty", cause="it holds no arrays", next_step="write the arrays with numpy.savez")
    return found


def read(path: Path, name: str) -> Array:
    """The array `name`. Raises InputError where it is missing, damaged or holds objects."""
    try:
        with np.load(path) as arrays:
            return np.asarray(arrays[name])
    except KeyError:
        raise InputError(f"{path} has no array {name}", next_step=f"add {name}: see `numpy.savez`") from None
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: {name} is damaged", cause=str(error), next_step=_AGAIN) from error


def class_names(path: Path) -> tuple[str, ...]:
    """The names of its classes; none where it has none."""
    return tuple(map(str, read(path, CLASSES))) if CLASSES in headers(path) else ()
