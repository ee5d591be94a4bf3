"""GroupNorm becomes means and products where the profile says so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, noise, randomise, rewrite
from torch import Tensor, nn
from torch.nn import functional as F

DECOMPOSED = NO_LIMITS.model_copy(update={"group_norm": "decomposed"})


def test_it_leaves_no_group_norm_and_no_rank_above_four() -> None:
    done = rewrite("lower_group_norm", randomise(nn.GroupNorm(2, 6)), noise(2, 6, 5, 4), profile=DECOMPOSED)
    assert done.changed == 1
    assert "group_norm" not in done.calls
    nodes = done.program.functions["forward"].graph_module.graph.nodes
    assert max(node.meta["val"].dim() for node in nodes if node.op == "call_function") == 4


def test_any_memory_layout_is_taken() -> None:
    net = Net(lambda net, x: net.norm(x.transpose(1, 2)), norm=nn.GroupNorm(2, 6))
    assert rewrite("lower_group_norm", randomise(net), noise(2, 5, 6), profile=DECOMPOSED).changed == 1
    assert rewrite("lower_group_norm", randomise(net), noise(2, 5, 6, 3), profile=DECOMPOSED).changed == 1


def test_a_runtime_that_has_it_keeps_it() -> None:
    done = rewrite("lower_group_norm", randomise(nn.GroupNorm(2, 6)), noise(2, 6, 5, 4))
    assert (done.changed, done.reasons) == (0, [])


def test_computed_weights_are_refused() -> None:
    def forward(net: Net, x: Tensor, scale: Tensor) -> Tensor:
        return F.group_norm(x, 2, weight=scale)

    done = rewrite("lower_group_norm", Net(forward), noise(1, 4, 3, 3), noise(4), profile=DECOMPOSED)
    done.assert_refused("its weight or bias is computed")


@given(st.data())
def test_random_group_norms_keep_their_outputs(data: st.DataObject) -> None:
    groups, channels_a_group = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    channels = groups * channels_a_group
    norm = nn.GroupNorm(groups, channels, eps=data.draw(st.sampled_from([1e-6, 0.1])), affine=data.draw(st.booleans()))
    positions = data.draw(st.lists(st.integers(2, 4), min_size=0 if channels_a_group > 1 else 1, max_size=3))
    done = rewrite("lower_group_norm", randomise(norm), noise(2, channels, *positions), profile=DECOMPOSED)
    assert done.changed == 1


def test_large_tensors_keep_their_shape() -> None:
    # A reshape between channels and positions would move everything in a runtime whose channels come last.
    done = rewrite("lower_group_norm", randomise(nn.GroupNorm(1, 6)), noise(1, 6, 5, 4), profile=DECOMPOSED)
    assert "reshape" not in done.calls
