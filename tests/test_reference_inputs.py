"""Reference inputs are such that PyTorch agrees with itself on them: else rounding would decide what is proved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit import program, reference_inputs


class Threshold(nn.Module):
    """Jumps where the mean of its input crosses a hundredth: hardly ever, but always for `EDGE`."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.where(x.mean() > 0.01, 1.0, 0.0)


EDGE = torch.full((1, 4), 0.01)
CALM = torch.tensor([[1.0, 2.0, 3.0, 4.0]])


class Chaotic(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x * 1e9)


def _written(module: nn.Module, inputs: dict[str, Tensor], folder: Path) -> Path:
    path = folder / "reference.npz"
    reference_inputs.write(module, program.capture(module, inputs).functions["forward"], path)
    return path


def test_steadiness_is_the_modules_own_answer_to_rounding() -> None:
    assert reference_inputs.steadiness_db(nn.Identity(), {"x": CALM}) == pytest.approx(100, abs=6), "1e-5 is 100 dB"
    assert reference_inputs.steadiness_db(Threshold(), {"x": CALM}) > 90
    assert reference_inputs.steadiness_db(Threshold(), {"x": EDGE}) < 10
    assert reference_inputs.steadiness_db(Chaotic(), {"x": CALM}) < 10


def test_what_has_no_fractions_does_not_move() -> None:
    assert reference_inputs.steadiness_db(nn.Embedding(4, 2), {"input": torch.tensor([1, 3])}) == 200


def test_inputs_are_drawn_until_the_module_is_steady_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = reference_inputs.read(_written(Threshold(), {"x": CALM}, tmp_path))
    drawn: list[Tensor] = []
    measured = reference_inputs.steadiness_db

    def unsteady_at_first(module: nn.Module, inputs: dict[str, Tensor]) -> float:
        drawn.append(inputs["x"])
        return 10.0 if len(drawn) == 1 else measured(module, inputs)

    monkeypatch.setattr(reference_inputs, "steadiness_db", unsteady_at_first)
    second, _ = reference_inputs.read(_written(Threshold(), {"x": CALM}, tmp_path))
    assert len(drawn) == reference_inputs.COUNT
    assert np.array_equal(first[1]["x"], drawn[0].numpy()), "the first draw, when it is steady"
    assert np.array_equal(second[1]["x"], drawn[1].numpy()), "the next, when it is not"
    assert np.array_equal(first[0]["x"], CALM.numpy())
    assert np.array_equal(second[0]["x"], CALM.numpy()), "the example stays what it is"


def test_a_module_that_is_steady_nowhere_is_still_given_its_inputs_and_is_told_of(tmp_path: Path) -> None:
    reference = _written(Chaotic(), {"x": CALM}, tmp_path)
    assert len(reference_inputs.read(reference)[0]) == reference_inputs.COUNT
    assert "rounding decides" in reference_inputs.jumps(Chaotic(), reference)
    assert reference_inputs.jumps(nn.Identity(), reference) == ""


def test_the_example_at_which_a_module_jumps_is_named(tmp_path: Path) -> None:
    told = reference_inputs.jumps(Threshold(), _written(Threshold(), {"x": EDGE}, tmp_path))
    assert "reference input 0" in told
