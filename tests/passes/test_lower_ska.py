"""SKA becomes operators that every target has, within the rank the device takes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, Rewritten, noise, rewrite
from torch import Tensor

from edgekit.ops.ska import ska
from edgekit.profiles import RuntimeProfile

_NO_IM2COL = {"pad", "reshape", "slice", "mul", "add"}


def _ska_net() -> Net:
    return Net(lambda net, x, w: ska(x, w))


def _lowered(batch: int, profile: RuntimeProfile = NO_LIMITS) -> Rewritten:
    return rewrite("lower_ska", _ska_net(), noise(batch, 6, 5, 7), noise(batch, 3, 9, 5, 7, seed=2), profile=profile)


def _rank_made(done: Rewritten) -> int:
    """The largest rank among the tensors that the lowering makes from the input; the kernels come with rank 5."""
    forward = done.program.functions["forward"].graph_module.graph
    made = (node.meta["val"] for node in forward.nodes if node.op == "call_function")
    return max(tensor.dim() for value in made for tensor in (value if isinstance(value, (list, tuple)) else [value]))


@pytest.mark.parametrize("batch", [1, 2])
def test_ska_becomes_shifts_and_products(batch: int) -> None:
    done = _lowered(batch)
    assert done.changed == 1
    assert set(done.calls) <= _NO_IM2COL
    assert done.calls.count("mul") == 9
    assert _rank_made(done) <= 5


def test_the_products_of_one_image_are_of_rank_4_and_those_of_a_batch_of_rank_5() -> None:
    for batch, rank in ((1, 4), (2, 5)):
        graph = _lowered(batch).program.functions["forward"].graph_module.graph
        products = graph.find_nodes(op="call_function", target=torch.ops.aten.mul.Tensor)
        assert {node.meta["val"].dim() for node in products} == {rank}


def test_a_batch_above_the_largest_rank_is_refused() -> None:
    profile = RuntimeProfile(source="tests", max_rank=4)
    _lowered(2, profile).assert_refused("a batch takes rank 5, above 4")


@pytest.mark.parametrize(("batch", "max_rank"), [(1, 4), (2, 5)])
def test_what_the_rank_allows_is_lowered(batch: int, max_rank: int) -> None:
    assert _lowered(batch, RuntimeProfile(source="tests", max_rank=max_rank)).changed == 1


@pytest.mark.parametrize("batch", [1, 2])
def test_any_memory_layout_is_lowered(batch: int) -> None:
    def forward(net: Net, x: Tensor, w: Tensor) -> Tensor:
        return ska(x.contiguous(memory_format=torch.channels_last), w.transpose(3, 4).contiguous().transpose(3, 4))

    done = rewrite("lower_ska", Net(forward), noise(batch, 6, 5, 7), noise(batch, 3, 9, 5, 7, seed=2))
    assert done.changed == 1


@pytest.mark.parametrize("batch", [1, 2])
def test_ska_of_a_small_map_becomes_two_products_of_matrices(batch: int) -> None:
    for pixels, matmuls in ((35, 2), (34, 0)):
        done = _lowered(batch, RuntimeProfile(source="tests", ska_dense_pixels=pixels))
        assert done.changed == 1
        assert done.calls.count("matmul") == matmuls


@given(
    dense=st.booleans(),
    batch=st.integers(1, 2),
    groups=st.integers(1, 3),
    shared=st.integers(1, 3),
    side=st.sampled_from([1, 3, 5]),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
)
def test_random_shapes_keep_their_outputs(
    dense: bool, batch: int, groups: int, shared: int, side: int, height: int, width: int
) -> None:
    profile = RuntimeProfile(source="tests", ska_dense_pixels=36 if dense else 0)
    x, w = noise(batch, groups * shared, height, width), noise(batch, groups, side * side, height, width, seed=2)
    assert rewrite("lower_ska", _ska_net(), x, w, profile=profile).changed == 1
