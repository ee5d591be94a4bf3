"""A folder of photographs: one sub-folder a class, as ImageNet's are, or photographs without labels.

`train/` and one of `test/`, `val/` and `validation/` in it are its splits; a folder without them is both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit import photographs
from edgekit.datasets._dataset import Dataset, Split
from edgekit.errors import InputError

_SPLITS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val", "validation")}


def recognises(path: Path) -> bool:
    """Whether it is a folder that holds photographs, or folders and no other format's files."""
    return path.is_dir() and (bool(_photographs(path)) or (bool(_folders(path)) and not any(path.glob("*.bin"))))


def open(path: Path, split: Split) -> Dataset:
    """The photographs of `split`, class by class, each in the order of names."""
    found = {name: path / name for names in _SPLITS.values() for name in names if (path / name).is_dir()}
    if not found:
        return _dataset(path, _class_names([path]), whole=True)
    root = next((found[name] for name in _SPLITS[split] if name in found), None)
    if root is None:
        raise InputError(
            f"{path} has no {split} split",
            cause=f"of the folders {', '.join(n for names in _SPLITS.values() for n in names)}, it has {', '.join(found)}",
            next_step=f"put the photographs in {path / _SPLITS[split][0]}",
        )
    return _dataset(root, _class_names(list(found.values())), whole=False)


def _class_names(roots: Sequence[Path]) -> tuple[str, ...]:
    """Of all splits, so that a class which one of them lacks moves no other's number."""
    return tuple(sorted({folder.name for root in roots if not _photographs(root) for folder in _folders(root)}))


def _dataset(root: Path, classes: tuple[str, ...], *, whole: bool) -> Dataset:
    files, labels = _photographs(root), None
    if not files:
        labels = []
        for folder in _folders(root):
            members = _photographs(folder)
            if not members:
                raise InputError(
                    f"{folder} holds no photographs",
                    cause=f"no file in it ends in one of {', '.join(sorted(photographs.SUFFIXES))}",
                    next_step="put the photographs of this class there, or remove the folder",
                )
            files += members
            labels += [classes.index(folder.name)] * len(members)
    if not files:
        raise InputError(f"{root} holds no photographs", next_step="put them there, or into one folder a class")
    return Dataset(
        names=[str(file) for file in files],
        decode=lambda index: photographs.read(files[index]),
        labels=labels,
        classes=classes if labels else (),
        whole=whole,
    )


def _photographs(folder: Path) -> list[Path]:
    return sorted(file for file in _shown(folder) if file.suffix.lower() in photographs.SUFFIXES and file.is_file())


def _folders(folder: Path) -> list[Path]:
    return sorted(inner for inner in _shown(folder) if inner.is_dir())


def _shown(folder: Path) -> list[Path]:
    return [inner for inner in folder.iterdir() if not inner.name.startswith(".")]
