"""One operator at a time, given and giving numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from edgekit.runtimes.coreml_reference import binding, ops
from edgekit.runtimes.coreml_reference.binding import Argument, Fixed


def compute(operator: str, *, ios: int = 17, **arguments: Any) -> Any:
    """What the operator gives, with its arguments brought to it as a package's are; several results as a list."""
    function = ops.operators()[operator]
    kinds = binding.parameters(function)
    given = {}
    for name, value in arguments.items():
        parts = value if isinstance(value, tuple) else (np.asarray(value) if isinstance(value, list) else value,)
        fixed = tuple(Fixed(binding.as_tensor(part)) for part in parts)
        given[name] = Argument(fixed, binding.collector(kinds[name])).value({})
    if "opset" in kinds:
        given["opset"] = ios
    found = function(**given)
    return [_numpy(value) for value in found] if isinstance(found, list) else _numpy(found)


def _numpy(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else value


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
