"""Trains a vision model on labelled photographs, so that quantization and the rest can be judged by real weights.

--output gets weights.pth, for `edgekit export MODEL --weights`, state.pth, which --resume goes on from, and log.json, with the
accuracy after each epoch. On the CPU, or on an NVIDIA GPU where there is one.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from training import kept, pixels
from training.run import Run
from training.settings import Settings

from edgekit import models, sources
from edgekit.artifact import Preprocessing
from edgekit.datasets import Dataset
from edgekit.errors import EdgekitError, OutputError, UsageError
from edgekit.recipe import Recipe

STOPPED = 130


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "model", help="a variant (`edgekit models`), or file.py:factory for a narrower form or a module of your own"
    )
    parser.add_argument(
        "--data", required=True, help="a folder with train/ and val/, an .npz of two splits, cifar-10-batches-bin"
    )
    parser.add_argument("--output", type=Path, required=True, help="the folder for weights, state and log")
    parser.add_argument("--input-size", type=int, help="pixels; smaller images are enlarged; the variant's own by default")
    parser.add_argument("--first-size", type=int, help="begin with images of so many pixels, which grow over the first 60 %%")
    parser.add_argument("--epochs", type=float, default=30.0, help="when the schedule ends (30)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="or then, if sooner: on the CPU, of its own time")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="at its highest (0.002); AdamW, one cycle")
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--smoothing", type=float, default=0.1, help="of labels")
    parser.add_argument("--bf16", action="store_true", help="multiply in bfloat16: faster for CAS-ViT on a CPU that has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in --output; --epochs and --minutes may be longer"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Train as asked; the exit code."""
    asked = parsed(arguments)
    try:
        return train(asked)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def train(asked: argparse.Namespace) -> int:
    """Train as asked. Raises EdgekitError."""
    if (asked.output / kept.STATE).exists() and not asked.resume:
        raise OutputError(f"{asked.output} holds a run", next_step="add --resume to go on with it, or give another --output")
    train_data, test_data = pixels.opened(asked.data, "train"), pixels.opened(asked.data, "test")
    torch.manual_seed(asked.seed)
    module, how, size = built(asked.model, asked.input_size, classes_of(train_data))
    settings = settings_of(asked, size)
    images = pixels.to_train_on(train_data, how, size), pixels.to_judge_by(test_data, how, size)
    run = Run(settings, module, how, (images[0], labels_of(train_data)), (images[1], labels_of(test_data)))
    require_fit(run)
    asked.output.mkdir(parents=True, exist_ok=True)
    if asked.resume and (asked.output / kept.STATE).exists():
        run.position = kept.restore(asked.output, settings, run.module, run.optimizer)
    stop: list[int] = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, _: stop.append(number))
    return 0 if run.go(asked.output, lambda: bool(stop)) else STOPPED


def settings_of(asked: argparse.Namespace, size: int) -> Settings:
    """The run's settings. Raises UsageError for values that make no run."""
    numbers = ("epochs", "minutes", "batch", "learning_rate")
    for name in numbers:
        if not getattr(asked, name) > 0:
            raise UsageError(f"--{name.replace('_', '-')} is {getattr(asked, name)}", next_step="give a number above 0")
    first = asked.first_size or size
    if not 0 < first <= size:
        raise UsageError(
            f"--first-size is {first}", cause=f"images grow to {size}", next_step="give a smaller one, or leave it out"
        )
    named = {name: getattr(asked, name) for name in (*numbers, "model", "weight_decay", "smoothing", "bf16", "seed")}
    return Settings(input_size=size, first_size=first, **named)


def built(model: str, size: int | None, classes: int) -> tuple[nn.Module, Preprocessing, int]:
    """The module to train, how photographs become its input, and their size."""
    if sources.is_factory(model):
        if size is None:
            raise UsageError(f"{model} needs --input-size", next_step="give the pixels of its images, such as --input-size 64")
        module = sources.load(Recipe(model=model, target="onnx", input_shapes=((1, 3, size, size),))).module
        return module, models.IMAGENET, size
    variant = models.find(model).at_size(size).with_classes(classes)
    return models.build(variant), variant.preprocessing, variant.input_shape[-1]


def require_fit(run: Run) -> None:
    """Raise UsageError unless the module takes images of the first size and gives a score a class."""
    settings, classes = run.settings, int(run.train[1].max()) + 1
    first = settings.first_size
    with torch.no_grad():
        try:
            shape = tuple(run.module(torch.zeros(2, 3, first, first, device=run.device)).shape)
        except RuntimeError as error:
            raise UsageError(
                f"{settings.model} cannot take images of {first}x{first}",
                cause=str(error).split("\n")[0],
                next_step=f"give a --first-size nearer to {settings.input_size}",
            ) from error
    if len(shape) != 2 or shape[1] < classes:
        raise UsageError(
            f"{settings.model} gives {list(shape)} for two images",
            cause=f"the data has {classes} classes",
            next_step=f"make it return [B, {classes}]",
        )


def classes_of(dataset: Dataset) -> int:
    """How many classes there are."""
    assert dataset.labels is not None
    return len(dataset.classes) or max(dataset.labels) + 1


def labels_of(dataset: Dataset) -> Tensor:
    """The class of each sample, int64 [N]."""
    return torch.tensor(dataset.labels)


if __name__ == "__main__":
    sys.exit(main())
