"""Weights: published checkpoints, or a deterministic stand-in that exercises every layer."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from edgekit import checkpoint
from edgekit.checkpoint import Checkpoint
from edgekit.errors import WeightsError
from edgekit.weights_diagnosis import likeliest_cause, shapes_of

if TYPE_CHECKING:
    from edgekit.models import Variant

SEEDED = "seeded"

_SHOWN = 3
_OTHER_CLASSES = 7
"""Any number that no variant has: its heads are what differs."""


def initialise(module: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Fill every float entry of the state dict from its name alone, then set the BatchNorm statistics to those of seeded
    noise, so that the same model has the same weights anywhere.

    Unlike a training initialisation nothing is zero or one: a residual branch that starts switched off, as LSNet's do,
    would hide from every parity check. Weights are normal with variance 1 / fan-in, norm scales uniform in [0.1, 0.3], biases
    normal with deviation 0.02 (larger ones would drown what depends on the input), other matrices, whose fan-in their shape
    does not tell, normal with deviation 0.35.
    """
    state = module.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = torch.from_numpy(_seeded(name, tuple(tensor.shape))).to(tensor.dtype)
    module.load_state_dict(state)
    _calibrate(module, input_shape)


def _calibrate(module: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Set every BatchNorm's statistics from one pass over two noise images: without it activations grow past fp16."""
    noise = np.random.RandomState(0).standard_normal((2, *input_shape[1:]))
    for norm in calibrate(module, [torch.from_numpy(noise)]):
        assert norm.running_var is not None
        # Two images say too little of one channel: a variance that happens to be tiny would make the model chaotic.
        norm.running_var.fill_(norm.running_var.mean())


def calibrate(module: nn.Module, batches: Sequence[Tensor]) -> list[nn.modules.batchnorm._BatchNorm]:
    """Set every BatchNorm's statistics to the mean of those of `batches`, all else in evaluation mode; the norms, as they
    then are."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return []
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average
        norm.train()
    dtype = next(module.parameters()).dtype
    # In float64, so that the sums' order (threads, vector width) does not reach the float32 result.
    with torch.no_grad():
        module.double()
        for batch in batches:
            module(batch.double())
    module.to(dtype)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return norms


def _seeded(name: str, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    random = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "weight" and len(shape) == 1:
        return random.uniform(0.1, 0.3, shape).astype(np.float32)
    if len(shape) <= 1:
        deviation = 0.02
    elif leaf == "weight":
        deviation = float(np.prod(shape[1:])) ** -0.5
    else:
        deviation = 0.35
    return np.asarray(deviation * random.standard_normal(shape, dtype=np.float32), dtype=np.float32)


def with_classes_of(loaded: Checkpoint, variant: Variant) -> Variant:
    """`variant` with as many classes as the checkpoint's heads have: heads are the weights whose shapes follow the number of
    classes. As it is where the checkpoint has them so already, or does not tell."""
    own, other = shapes_of(variant), shapes_of(variant.with_classes(_OTHER_CLASSES))
    heads = [name for name in own if own[name] != other[name]]
    classes = {loaded.state[name].shape[0] if name in loaded.state and loaded.state[name].dim() else 0 for name in heads}
    if len(classes) != 1 or 0 in classes or classes == {own[heads[0]][0]}:
        return variant
    return variant.with_classes(classes.pop())


def load_into(module: nn.Module, loaded: Checkpoint, variant: Variant) -> None:
    """Load the checkpoint into `module`, every key matched. Raises WeightsError naming what does not fit and the likeliest
    cause."""
    found, expected = checkpoint.without_counters(loaded.state), checkpoint.without_counters(module.state_dict())
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    misshaped = [n for n in expected if n in found and found[n].shape != expected[n].shape]
    if not (missing or unexpected or misshaped):
        module.load_state_dict(found, strict=False)  # strict but for the counters: compared above
        return
    parts = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for names, what in ((missing, "missing"), (unexpected, "unexpected"), (misshaped, "of another shape"))
        if names
    ]
    cause, next_step = likeliest_cause(found, expected, variant)
    raise WeightsError(
        f"{loaded.path} does not fit {variant.name}: of {len(expected)} keys, {'; '.join(parts)}",
        cause=cause,
        next_step=next_step,
    )
