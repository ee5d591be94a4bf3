"""Tokens of feature maps are computed channels-first, without the transposes that made them tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, Rewritten, noise, randomise, rewrite
from torch import Tensor, nn
from vit import VisionTransformer

from edgekit.profiles import RuntimeProfile

FIRST = RuntimeProfile(max_rank=5, preferred_layout="channels_first", source="tests")
MAP = (2, 6, 3, 4)


def _rewritten(module: nn.Module, *inputs: Tensor) -> Rewritten:
    return rewrite("channels_first", randomise(module), *inputs, profile=FIRST)


def _transposes(calls: list[str]) -> int:
    return sum(call in ("permute", "transpose", "t") for call in calls)


def test_a_linear_between_permutations_is_a_convolution() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    done = _rewritten(Net(forward, linear=nn.Linear(6, 5)), noise(*MAP))
    assert done.calls == ["conv2d"]


def test_a_norm_and_an_mlp_on_flattened_tokens_keep_the_map() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + net.mlp(tokens)
        return tokens.transpose(1, 2).reshape(x.shape)

    mlp = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6))
    done = _rewritten(Net(forward, mlp=mlp), noise(*MAP))
    assert done.calls.count("conv2d") == 2
    assert _transposes(done.calls) == 0
    assert not {"linear", "layer_norm"} & set(done.calls)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_attention_multiplies_what_lies_channels_first(batch: int, fused: bool) -> None:
    done = _rewritten(VisionTransformer(fused=fused), noise(batch, 3, 16, 16))
    assert done.calls.count("conv2d") == 10
    assert "linear" not in done.calls
    assert "permute" not in done.calls
    assert _transposes(done.calls) == 4  # the operand of each product that is taken transposed


def test_tokens_read_elsewhere_are_transposed_there_alone() -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens = net.linear(x.flatten(2).transpose(1, 2))
        return tokens.cummax(1)[0], tokens.transpose(1, 2)

    done = _rewritten(Net(forward, linear=nn.Linear(6, 5)), noise(*MAP))
    assert done.calls.count("conv2d") == 1
    assert _transposes(done.calls) == 1


def test_a_linear_over_another_axis_than_the_channels_stays() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.linear(x.transpose(2, 3)).transpose(2, 3) * 2

    done = _rewritten(Net(forward, linear=nn.Linear(3, 5)), noise(*MAP))
    done.assert_refused("the graph has 2 transposes as it is, 2 with these tokens channels-first")


def test_tokens_from_no_map_stay() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.linear(x).transpose(1, 2) * 2

    done = _rewritten(Net(forward, linear=nn.Linear(6, 5)), noise(2, 7, 6))
    assert (done.changed, done.graph) == (0, done.graph_before)


def test_what_is_refused_does_not_keep_the_rest() -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        return net.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) * 2, net.rows(x.transpose(2, 3)).cummax(1)[0]

    done = _rewritten(Net(forward, linear=nn.Linear(6, 5), rows=nn.Linear(3, 5)), noise(*MAP))
    assert done.calls.count("conv2d") == done.calls.count("linear") == 1
    assert len(done.reasons) == 1


def test_a_runtime_without_that_preference_keeps_its_graph() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    done = rewrite("channels_first", randomise(Net(forward, linear=nn.Linear(6, 5))), noise(*MAP))
    assert (done.changed, done.graph) == (0, done.graph_before)


@given(st.data())
def test_random_chains_keep_their_outputs(data: st.DataObject) -> None:
    kinds = ["linear", "norm", "residual", "gelu", "tokens", "map", "flat", "gate", "mean", "first", "halves", "softmax"]
    steps = data.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=8))

    def forward(net: Net, x: Tensor) -> Tensor:
        """`x` is a map, tokens on two axes of positions, or on one; each step acts on what it finds."""
        last = False
        kept = x
        for step in steps:
            channel = x.dim() - 1 if last else 1
            if step == "tokens" and not last:
                x, last = x.movedim(1, -1), True
            elif step == "map" and last:
                x, last = x.movedim(-1, 1), False
            elif step == "flat" and x.dim() == 4:
                x = x.flatten(1, 2) if last else x.flatten(2)
            elif step in ("linear", "norm") and last:
                x = getattr(net, step)(x)
            elif step == "residual":
                x = x + x.tanh()
            elif step == "gelu":
                x = nn.functional.gelu(x)
            elif step == "gate":
                x = x * net.gate.reshape([-1 if axis == channel else 1 for axis in range(x.dim())])
            elif step == "mean":
                x = x - x.mean(channel, keepdim=True)
            elif step == "first":
                x = x + x.narrow(1, 0, 1)
            elif step == "halves":
                a, b = x.chunk(2, channel)
                x = torch.cat([b, a.relu()], channel)
            elif step == "softmax":
                x = x.softmax(-1)
        return x.flatten(1) @ kept.flatten(1).mT

    parts = {"linear": nn.Linear(6, 6), "norm": nn.LayerNorm(6), "gate": noise(6)}
    done = _rewritten(Net(forward, **parts), noise(*MAP))
    assert done.changed == 0 or _transposes(done.calls) <= _transposes(done.calls_before)
