"""Photographs as arrays: decoded once, then cut, turned and scaled a batch at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import PIL.Image
import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit import datasets, photographs
from edgekit.artifact import Preprocessing
from edgekit.datasets import Dataset
from edgekit.errors import InputError

_LOOKED_AT = 64
"""Photographs whose sizes decide how large they are kept."""
_SHIFT = 8
"""A crop may be off the centre by this fraction of the photograph."""
_ANNOUNCED_S = 30.0


def opened(path: str, split: datasets.Split) -> Dataset:
    """Labelled photographs to train on or to judge by. Raises InputError for any other data."""
    dataset = datasets.open(path, split)
    if dataset.whole:
        cause, step = "it has no splits: nothing would be left to judge by", "give a folder with train/ and val/, or two splits"
    elif dataset.labels is None:
        cause, step = "it has no labels", "give one folder a class"
    elif isinstance(dataset[0].content, Mapping):
        cause, step = "it holds arrays, not photographs", "give photographs"
    else:
        return dataset
    raise InputError(f"{path} is no data to train a classifier on", cause=cause, next_step=step)


def to_train_on(dataset: Dataset, how: Preprocessing, size: int) -> Tensor:
    """The photographs as uint8 [N, R, R, 3]: squares, as large as images of `size` pixels are cut from, and no larger than
    most of them are."""
    sides = sorted(min(_picture(dataset, index).size) for index in dataset.spread(_LOOKED_AT))
    side = min(round(size / how.crop_fraction), sides[len(sides) // 2])
    return _decoded(dataset, how.model_copy(update={"crop_fraction": 1.0}), side)


def to_judge_by(dataset: Dataset, how: Preprocessing, size: int) -> Tensor:
    """The photographs as uint8 [N, size, size, 3], cut as an artifact's manifest says."""
    return _decoded(dataset, how, size)


def normalised(images: Tensor, how: Preprocessing) -> Tensor:
    """The model's input of [B, H, W, 3] in 0..255: float32 [B, 3, H, W], channels last in memory."""
    mean, std = (torch.tensor(values, device=images.device) for values in (how.mean, how.std))
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def augmented(images: Tensor, how: Preprocessing, size: int) -> Tensor:
    """The model's input of uint8 [B, R, R, 3], each image cut at a random place (mirrored where that is beyond its border),
    every other one flipped: float32 [B, 3, size, size], from torch's global generator."""
    count, side = images.shape[:2]
    cut = round(side * how.crop_fraction)
    margin = max(0, side // _SHIFT - (side - cut) // 2)
    place = torch.arange(cut)
    corners = torch.randint(-margin, side - cut + margin + 1, (2, count, 1))
    rows, columns = corners[0] + place, torch.where(torch.rand(count, 1) < 0.5, corners[1] + place, corners[1] + place.flip(0))
    rows, columns = (_mirrored(index, side).to(images.device) for index in (rows, columns))
    cuts = images[torch.arange(count, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    if cut != size:
        floats = cuts.permute(0, 3, 1, 2).float()
        cuts = F.interpolate(floats, (size, size), mode=how.interpolation, antialias=True).clamp(0, 255).permute(0, 2, 3, 1)
    return normalised(cuts, how)


def _mirrored(index: Tensor, side: int) -> Tensor:
    """Places beyond an axis of `side` pixels, reflected into it."""
    return (side - 1) - ((side - 1) - index.abs()).abs()


def _picture(dataset: Dataset, index: int) -> PIL.Image.Image:
    content = dataset[index].content
    assert not isinstance(content, Mapping), "opened() has looked"
    return content


def _decoded(dataset: Dataset, how: Preprocessing, size: int) -> Tensor:
    """Every photograph in one array. Raises InputError where it would not fit into memory, or one is damaged."""
    needed, free = len(dataset) * size * size * 3, psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"{len(dataset)} photographs of {size}x{size} do not fit into memory",
            cause=f"they take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
            next_step="give fewer photographs, or a smaller --input-size",
        )
    pixels, announced = np.empty((len(dataset), size, size, 3), np.uint8), time.monotonic()
    for index in range(len(dataset)):
        pixels[index] = np.asarray(photographs.cropped(_picture(dataset, index), how, size))
        if time.monotonic() - announced > _ANNOUNCED_S:
            print(f"decoded {index + 1} of {len(dataset)} photographs", flush=True)
            announced = time.monotonic()
    return torch.from_numpy(pixels)
