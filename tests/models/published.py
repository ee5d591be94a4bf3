"""What every published model is held to, whatever its architecture."""

from __future__ import annotations

import copy
import json
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgekit import metrics, models, program, weights
from edgekit.models import Variant

GOLDEN = Path(__file__).parent.parent / "golden"
_RULE = runpy.run_path(str(GOLDEN / "seeded.py"))
_LARGEST_FP16 = 6e4


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(_RULE["seeded_input"](shape, seed))


def shapes(module: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in module.state_dict().items()}


def golden(name: str) -> Mapping[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def logits_error(variant: Variant, name: str) -> float:
    """The largest difference from the published code's logits under the same weights, in standard deviations of them."""
    module = models.build(variant)
    _RULE["fill"](module)
    with np.load(GOLDEN / f"{name}.npz") as vectors:
        statistics = {key: torch.from_numpy(vectors[key]) for key in vectors.files if key != "logits"}
        logits = torch.from_numpy(vectors["logits"])
    assert all(key.endswith((".running_mean", ".running_var")) for key in statistics)
    module.load_state_dict({**module.state_dict(), **statistics})
    with torch.no_grad():
        difference = module(noise(*golden(name)["input_shape"], seed=golden(name)["input_seed"])) - logits
    return float(difference.abs().max() / logits.std())


def parameters(variant: Variant) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in models.build(variant).parameters())


def macs(variant: Variant) -> int:
    with torch.device("meta"):
        module, image = models.build(variant), torch.empty(variant.input_shape)
        return program.count_macs(lambda: module(image))


def captured(variant: Variant) -> tuple[program.Program, nn.Module]:
    """The graph of `variant` with stand-in weights at its own size, and the module it was captured from."""
    module = stand_in(variant)
    return program.capture(module, {"image": noise(*variant.input_shape)}, variant.output_names), module


def stand_in(variant: Variant) -> nn.Module:
    module = models.build(variant)
    weights.initialise(module, variant.input_shape)
    return module


def assert_trains(variant: Variant) -> None:
    """One training step: a finite gradient reaches every parameter, a nonzero one every matrix and kernel."""
    torch.manual_seed(0)
    module = models.build(variant.at_size(192)).train()
    nn.functional.cross_entropy(module(noise(2, 3, 192, 192)), torch.tensor([0, 1])).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.ndim == 1 or parameter.grad.any(), name


def assert_sane_stand_in(variant: Variant) -> None:
    """With stand-in weights: outputs of some size, which depend on the input, fit fp16 and survive fp32 round-off."""
    module, image = stand_in(variant), noise(*variant.input_shape)
    largest: dict[str, float] = {}
    for name, part in module.named_modules():
        part.register_forward_hook(lambda _, __, out, name=name: largest.update({name: float(out.abs().max())}))
    with torch.no_grad():
        logits, others = module(image), module(noise(*variant.input_shape, seed=1))
        assert max(largest.values()) < _LARGEST_FP16, max(largest, key=largest.__getitem__)
        exact = copy.deepcopy(module).double()(image.double())
    assert 0.02 < logits.std() < 5
    assert metrics.sqnr_db(exact.numpy(), logits.numpy()) >= 95
    assert metrics.sqnr_db(logits.numpy(), others.numpy()) < 30
