"""The samples of an evaluation, in an order that says nothing of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edgekit import artifact

_SEED = 0


def order(samples: int) -> list[int]:
    """The samples, shuffled: as many as one takes from the front are a fair draw of them, and part of any longer one."""
    return [int(place) for place in np.random.default_rng(_SEED).permutation(samples)]


def sha256(path: Path) -> str:
    """Of a file's content; of a folder, of the paths and sizes of all files in it, as reading ImageNet takes minutes."""
    if path.is_file():
        return artifact.sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listing = "".join(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()
