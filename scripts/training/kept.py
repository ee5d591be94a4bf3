"""What a run leaves behind: the weights, the state it goes on from, and a log. Each file appears whole or not at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.errors import UsageError, WeightsError
from training.settings import Settings

WEIGHTS, STATE, LOG = "weights.pth", "state.pth", "log.json"
_EXTENDED = ("epochs", "minutes")
"""What a run that goes on may change: its schedule is then as if it had been so from the start."""


@dataclasses.dataclass
class Position:
    """How far a run has come."""

    step: int = 0
    seconds: float = 0.0
    """Of training, evaluation and loading left out; on a CPU, of the processor's time."""
    loss: float = 0.0
    """The sum over this epoch's steps."""
    epochs: list[dict[str, float]] = dataclasses.field(default_factory=list)


def save(folder: Path, settings: Settings, module: nn.Module, optimizer: torch.optim.Optimizer, position: Position) -> None:
    """Write all three files."""
    weights = {"model": module.state_dict(), "input_size": settings.input_size}
    state = {**weights, "optimizer": optimizer.state_dict(), **described(settings, position)}
    _write(folder / STATE, state)
    _write(folder / WEIGHTS, weights)
    log = folder / f"{LOG}.part"
    log.write_text(json.dumps(described(settings, position), indent=1) + "\n", encoding="utf-8")
    log.replace(folder / LOG)


def described(settings: Settings, position: Position) -> dict[str, Any]:
    """A run as plain data."""
    return {"settings": dataclasses.asdict(settings), "position": dataclasses.asdict(position)}


def restore(folder: Path, settings: Settings, module: nn.Module, optimizer: torch.optim.Optimizer) -> Position:
    """Bring module and optimizer to where a run with these settings was stopped. Raises UsageError for one with others."""
    path = folder / STATE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever it meets
        raise WeightsError(f"{path} is damaged", cause=str(error).split("\n")[0], next_step="start without --resume") from error
    stored, asked = state["settings"], dataclasses.asdict(settings)
    differing = [name for name in asked if name not in _EXTENDED and stored.get(name) != asked[name]]
    if differing:
        raise UsageError(
            f"the run in {folder} was another one",
            cause=", ".join(f"its {name} is {stored.get(name)}, not {asked[name]}" for name in differing),
            next_step="repeat its options, or give another --output",
        )
    module.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Position(**state["position"])


def _write(path: Path, content: dict[str, Any]) -> None:
    beside = path.with_suffix(".part")
    torch.save(content, beside)
    beside.replace(path)
