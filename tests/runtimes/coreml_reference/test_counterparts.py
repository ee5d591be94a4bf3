"""Which results of a package are which values of the graph it was converted from."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_modules import BLOCKS, CHANNELS, SIZE
from torch import Tensor, nn

from edgekit import bisection, passes, profiles
from edgekit.program import Program, capture
from edgekit.quiet import quiet
from edgekit.recipe import Recipe
from edgekit.runtimes.coreml_reference import counterparts
from edgekit.targets import coreml

pytestmark = pytest.mark.slow

PROFILE = profiles.for_target(profiles.load("iphone"), "coreml")


def _pair(module: nn.Module, inputs: dict[str, Tensor], folder: Path, precision: str = "fp32") -> bisection._Pair:
    program: Program = capture(module, inputs)
    program.precision = precision
    with quiet():
        passes.run(program, PROFILE)
        (path,) = coreml.lower(program, PROFILE, folder)
    return bisection._Pair(program, path, Recipe(model="m", target="coreml"))


@settings(max_examples=8)
@given(
    st.lists(st.sampled_from(sorted(BLOCKS)), min_size=3, max_size=7),
    st.integers(0, 9),
    st.sampled_from(["fp32", "fp16"]),
)
def test_whatever_has_a_counterpart_computes_the_same(names: list[str], seed: int, precision: str) -> None:
    torch.manual_seed(seed)
    module = nn.Sequential(*(BLOCKS[name]() for name in names)).eval()
    x = torch.randn(1, CHANNELS, SIZE, SIZE)
    with tempfile.TemporaryDirectory() as folder:
        pair = _pair(module, {"x": x}, Path(folder), precision)
        conversion, _ = pair.compare({"x": x.numpy()})
    assert set(pair.counterparts) == conversion.agreeing, names
    assert conversion.culprit is None


class Clashing(nn.Module):
    """GroupNorm becomes operations that coremltools numbers, and so takes the names of nodes behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, 4)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x.sin())
        return (((x + y) * 2 + y).relu() + x) * y + 1


def test_a_name_that_coremltools_took_before_goes_to_the_result_in_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pair = _pair(Clashing(), {"x": torch.randn(1, 4, 3, 3)}, tmp_path)
    found = {name: c.node.name for name, c in pair.counterparts.items()}
    assert [found[name] for name in pair.function.results if found.get(name, "").startswith("add")] == [
        "add",
        "add_1",
        "add_2",
        "add_3",
    ]
    assert found["add_1"] != "add_1"
    assert [node for name, node in found.items() if name.startswith("square")] == []


@pytest.mark.parametrize(
    ("pairs", "chosen"),
    [
        ([], []),
        ([(0, 3)], [(0, 3)]),
        ([(0, 0), (1, 5), (1, 2), (2, 3), (3, 4)], [(0, 0), (1, 2), (2, 3), (3, 4)]),
        ([(0, 2), (0, 1), (1, 2), (1, 1)], [(0, 1), (1, 2)]),
    ],
    ids=["none", "one", "a name twice", "each but once"],
)
def test_the_longest_order_is_kept(pairs: list[tuple[int, int]], chosen: list[tuple[int, int]]) -> None:
    assert sorted(counterparts._ascending(pairs)) == chosen
