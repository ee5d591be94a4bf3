"""Weights: published checkpoints, or a deterministic stand-in that exercises every layer.

Checkpoints are data: `.pth` files load with `weights_only=True`, `.safetensors` hold nothing but tensors.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.errors import WeightsError

if TYPE_CHECKING:
    from edgekit.models import Variant

SEEDED = "seeded"

_WRAPPERS = ("model_ema", "state_dict_ema", "model", "state_dict", "module", "ema")
_SHOWN = 3


def initialise(module: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Fill every float entry of the state dict from its name alone, then set the BatchNorm statistics to those of seeded
    noise, so that the same model has the same weights anywhere.

    Unlike a training initialisation nothing is zero or one: a residual branch that starts switched off, as LSNet's do,
    would hide from every parity check. Matrices and kernels are normal with variance 1 / fan-in, norm scales uniform in
    [0.1, 0.3], biases normal with deviation 0.1.
    """
    state = module.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = torch.from_numpy(_seeded(name, tuple(tensor.shape))).to(tensor.dtype)
    module.load_state_dict(state)
    _calibrate(module, input_shape)


def _calibrate(module: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Set every BatchNorm's statistics from one pass over two noise images: without it activations grow past fp16."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative average, here of one batch
        norm.train()
    noise = np.random.RandomState(0).standard_normal((2, *input_shape[1:]))
    dtype = next(module.parameters()).dtype
    # In float64, so that the sums' order (threads, vector width) does not reach the float32 result.
    with torch.no_grad():
        module.double()(torch.from_numpy(noise))
    module.to(dtype)
    for norm, momentum in zip(norms, momenta, strict=True):
        assert norm.running_var is not None
        # Two images say too little of one channel: a variance that happens to be tiny would make the model chaotic.
        norm.running_var.fill_(norm.running_var.mean())
        norm.momentum = momentum
        norm.eval()


def _seeded(name: str, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    random = np.random.RandomState(zlib.crc32(name.encode()))  # a frozen stream: the same numbers in every numpy
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "weight" and len(shape) == 1:
        drawn = random.uniform(0.1, 0.3, shape)
    elif len(shape) <= 1:
        drawn = 0.1 * random.standard_normal(shape)
    else:
        drawn = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return np.asarray(drawn, dtype=np.float32)


def load_into(module: nn.Module, path: Path, variant: Variant) -> None:
    """Load the checkpoint at `path` into `module`, every key matched. Raises WeightsError naming what does not fit and
    the likeliest cause."""
    checkpoint = read(path)
    expected = module.state_dict()
    missing = [name for name in expected if name not in checkpoint]
    unexpected = [name for name in checkpoint if name not in expected]
    misshaped = [n for n in expected if n in checkpoint and checkpoint[n].shape != expected[n].shape]
    if not (missing or unexpected or misshaped):
        module.load_state_dict(checkpoint)
        return
    from edgekit.weights_diagnosis import likeliest_cause

    parts = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for names, what in ((missing, "missing"), (unexpected, "unexpected"), (misshaped, "of another shape"))
        if names
    ]
    cause, next_step = likeliest_cause(checkpoint, expected, variant)
    raise WeightsError(
        f"{path} does not fit {variant.name}: of {len(expected)} keys, {'; '.join(parts)}",
        cause=cause,
        next_step=next_step,
    )


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, out of its wrappers. Raises WeightsError for a file that is missing, corrupt, needs
    pickle, or holds no tensors."""
    if not path.is_file():
        raise WeightsError(f"{path} does not exist", next_step="check the path given to --weights")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    while isinstance(content, dict):
        if content and all(isinstance(v, Tensor) for v in content.values()):
            return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
        inner = next((content[w] for w in _WRAPPERS if isinstance(content.get(w), dict)), None)
        if inner is None:
            break
        content = inner
    keys = ", ".join(map(str, list(content)[:5])) if isinstance(content, dict) else type(content).__name__
    raise WeightsError(
        f"{path} holds no state dict",
        cause=f"found {keys}",
        next_step=f"save the model's state_dict(), plain or under one of {', '.join(_WRAPPERS)}",
    )


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file", cause=str(error), next_step=_DOWNLOAD) from error


def _read_torch(path: Path) -> object:
    import pickle

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error) and "Unsupported" not in str(error):
            raise WeightsError(f"{path} is no readable checkpoint", cause=_short(error), next_step=_DOWNLOAD) from error
        raise WeightsError(
            f"{path} holds more than tensors",
            cause=f"loading it would run code from the file, which edgekit never does ({_short(error)})",
            next_step="where you trust it, convert it once: torch.save(torch.load(FILE, weights_only=False)"
            "['model'], 'weights.pth'), or save safetensors",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is no readable checkpoint", cause=_short(error), next_step=_DOWNLOAD) from error


_DOWNLOAD = "download it again: it may be cut short"


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
