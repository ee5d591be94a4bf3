"""PyTorch's operators as a module calls them."""

from __future__ import annotations

from pathlib import Path

import torch
from nested_model import BLOCK, FC, STEM
from torch import Tensor, nn

from edgekit import runtimes
from edgekit.profiling import operators
from edgekit.profiling.operators import grouped
from edgekit.runtimes import Array
from edgekit.runtimes.eager import EagerSession


def test_each_call_has_its_time_module_multiply_adds_and_bytes(nested_file: Path, arrays: list[Array]) -> None:
    from edgekit import python_files

    module = python_files.load(nested_file).build()
    profile = operators.of_session(EagerSession(module, {"x": torch.from_numpy(arrays[0])}, ["output"]), arrays)
    assert profile.reason is None
    assert all(operator.time_s > 0 for operator in profile.operators)
    macs = {group.name: group.macs for group in grouped(profile, "module", 2)}
    assert macs == {"stem": STEM, "blocks.0": BLOCK, "blocks.1": BLOCK, "fc": FC, "": 0}
    add = next(operator for operator in profile.operators if operator.operator == "add")
    assert (add.module, add.shapes) == ("blocks.0", "1x16x16x16, 1x16x16x16 -> 1x16x16x16")
    assert add.bytes_moved == 3 * 4 * 16**3
    assert [operator.name for operator in profile.operators if operator.operator == "conv2d"] == [
        "aten::conv2d 1",
        "aten::conv2d 2",
        "aten::conv2d 3",
    ]


class _Views(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1).mT + 1).relu_()


def test_views_move_nothing_and_operators_in_place_do() -> None:
    x = torch.zeros(4, 2, 8)
    profile = operators.of_session(EagerSession(_Views(), {"x": x}, ["output"]), [x.numpy()])
    moved = {operator.operator: operator.bytes_moved for operator in profile.operators}
    assert (moved["flatten"], moved["mT"]) == (0, 0)
    assert moved["add"] == 2 * 4 * 64
    assert moved["relu_"] == 4 * 64


class _Fickle(nn.Module):
    runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return x.relu() if self.runs % 2 else x.sigmoid()


def test_a_model_that_calls_other_operators_each_time_is_refused() -> None:
    x = torch.zeros(4)
    profile = operators.of_session(EagerSession(_Fickle(), {"x": x}, ["output"]), [x.numpy()])
    assert profile.operators == ()
    assert "other operators from run to run" in (profile.reason or "")


def test_a_session_of_no_runtime_here_says_where_to_look() -> None:
    class Own(EagerSession):
        pass

    x = torch.zeros(4)
    own = Own(nn.ReLU(), {"input": x}, ["output"])
    profile = operators.of_session(own, [x.numpy()])
    assert "eager tells no operator's time" in (profile.reason or "")
    assert runtimes.eager.__name__ != Own.__module__
