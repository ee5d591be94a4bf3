"""PyTorch eager as a session: the reference of every artifact, under the same contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgekit
from edgekit.errors import UsageError
from edgekit.runtimes import TensorSpec
from edgekit.runtimes.eager import EagerSession


class _Pair(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        return {"sum": left + right, "product": left * right}


def test_names_shapes_and_values_are_the_module_s() -> None:
    inputs = {"left": torch.randn(2, 3), "right": torch.randn(2, 3)}
    session = EagerSession(_Pair(), inputs, ("sum", "product"))
    assert session.inputs == (TensorSpec("left", (2, 3), "float32"), TensorSpec("right", (2, 3), "float32"))
    assert [spec.name for spec in session.outputs] == ["sum", "product"]
    found = session.run({"right": np.full((2, 3), 2, np.float32), "left": np.ones((2, 3), np.float32)})
    np.testing.assert_array_equal(found["sum"], 3)
    np.testing.assert_array_equal(found["product"], 2)


def test_a_module_is_run_in_eval_mode_without_gradients() -> None:
    session = EagerSession(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train(), {"x": torch.ones(1, 4)}, ("y",))
    ones = {"x": np.ones((1, 4), np.float32)}
    np.testing.assert_array_equal(session.run(ones)["y"], session.run(ones)["y"])


def test_a_wrong_input_is_refused() -> None:
    session = EagerSession(nn.ReLU(), {"x": torch.ones(1, 4)}, ("y",))
    with pytest.raises(UsageError, match="does not fit"):
        session.run({"x": np.ones((1, 5), np.float32)})


def test_threads_are_as_told() -> None:
    before = torch.get_num_threads()
    try:
        EagerSession(nn.ReLU(), {"x": torch.ones(1)}, ("y",)).set_threads(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_model_opens_by_its_name_with_the_weights_an_export_gives_it() -> None:
    session = edgekit.open("lsnet_t")
    assert session.inputs == (TensorSpec("image", (1, 3, 224, 224), "float32"),)
    assert session.outputs == (TensorSpec("logits", (1, 1000), "float32"),)
    assert session.runtime.endswith("eager")


def test_a_missing_artifact_is_not_taken_for_a_model(tmp_path: Path) -> None:
    with pytest.raises(edgekit.EdgekitError):
        edgekit.open(tmp_path / "artifacts" / "lsnet_t-onnx")
