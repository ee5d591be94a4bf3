"""Lists of the classes that outputs index, by the names manifests give them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple


class Class(NamedTuple):
    """One of them."""

    id: str
    """As folders of photographs are called: of ImageNet, the WordNet id."""
    label: str
    """As people call it."""


@functools.cache
def read(name: str | None) -> tuple[Class, ...]:
    """The classes of a list, in the outputs' order; none where there is no list."""
    if name is None:
        return ()
    lines = (Path(__file__).parent / "labels" / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(Class(*line.split("\t")[:2]) for line in lines)
