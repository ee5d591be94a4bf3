"""Regions under autocast come up into the graph where autocast casts nothing, and stay where it casts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, noise, randomise, rewrite
from torch import Tensor, nn

from edgekit import passes
from edgekit.program import capture


def _net(forward: Callable[..., object]) -> nn.Module:
    return randomise(Net(forward, linear=nn.Linear(4, 4), other=nn.Linear(4, 4)))


def _switched_off(net: Net, x: Tensor) -> object:
    with torch.autocast("cpu", enabled=False):
        y = net.linear(x).relu()
    return y, net.other(y)


def _nested(net: Net, x: Tensor) -> object:
    with torch.autocast("cpu", enabled=False):
        y = net.linear(x)
        with torch.autocast("cpu", enabled=False), torch.enable_grad():
            y = y.relu() + torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
        return net.other(y) + x


def _on_without_casts(net: Net, x: Tensor) -> object:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = (x * 2).relu()
        with torch.autocast("cpu", enabled=False):
            y = net.linear(y)
    return y


def _gradients_on(net: Net, x: Tensor) -> object:
    with torch.enable_grad():
        y = net.linear(x)
    with torch.no_grad():
        return y + net.other(x)


@pytest.mark.parametrize("forward", [_switched_off, _nested, _on_without_casts, _gradients_on])
def test_what_casts_nothing_is_inlined(forward: Callable[..., object]) -> None:
    done = rewrite("inline_autocast", _net(forward), noise(2, 4))
    assert done.changed >= 1
    assert not [call for call in done.calls if call.startswith("wrap_with")]


def test_patterns_inside_are_seen_afterwards() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return net.norm(net.conv(x))

    module = randomise(Net(forward, conv=nn.Conv2d(4, 4, 1), norm=nn.BatchNorm2d(4)))
    program = capture(module, {"x": noise(1, 4, 3, 3)})
    inlined, folded = passes.run(program, NO_LIMITS, ["inline_autocast", "fold_batchnorm"], check=True)
    assert (inlined.changed, folded.changed) == (1, 1)


def test_writes_in_place_keep_their_order() -> None:
    def forward(net: Net, x: Tensor) -> object:
        y = net.linear(x)
        before = y * 1
        with torch.autocast("cpu", enabled=False):
            y.add_(1)
            z = y * 2
        y.mul_(3)
        return before, y, z

    done = rewrite("inline_autocast", _net(forward), noise(2, 4))
    assert done.changed == 1
    assert [call for call in done.calls if call.endswith("_")] == ["add_", "mul_"]


def test_autocast_that_casts_stays() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = net.linear(x)
        return y.float()

    # Autocast leaves float64 alone, so this one runs in float32.
    program = capture(Net(forward, linear=nn.Linear(4, 4)), {"x": torch.randn(2, 4)})
    graph_before = str(program.functions["forward"].graph_module.graph)
    (changes,) = passes.run(program, NO_LIMITS, ["inline_autocast"], check=True)
    assert changes.changed == 0
    assert str(program.functions["forward"].graph_module.graph) == graph_before
    (refusal,) = changes.refusals
    assert "autocast to torch.bfloat16 on cpu" in refusal.reason
    assert "makes torch.bfloat16, without autocast torch.float32" in refusal.reason
    program.export()


def test_a_region_that_casts_keeps_the_regions_inside_it() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = net.linear(x)
            with torch.autocast("cpu", enabled=False):
                y = y.float() + 1
            return net.linear(y).float()

    program = capture(Net(forward, linear=nn.Linear(4, 4)), {"x": torch.randn(2, 4)})
    (changes,) = passes.run(program, NO_LIMITS, ["inline_autocast"], check=True)
    assert changes.changed == 0
    assert len(changes.refusals) == 1


def test_autocast_with_writes_in_place_stays() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        y = net.linear(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y.add_(1)
        return y

    rewrite("inline_autocast", _net(forward), noise(2, 4)).assert_refused("writes in place")


@given(st.lists(st.sampled_from(["off", "on", "grad", "no_grad"]), min_size=1, max_size=4))
def test_random_nests_keep_their_outputs(kinds: list[str]) -> None:
    regions = {
        "off": lambda: torch.autocast("cpu", enabled=False),
        "on": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        "grad": torch.enable_grad,
        "no_grad": torch.no_grad,
    }

    def nested(net: Net, x: Tensor, depth: int) -> Tensor:
        if depth == len(kinds):
            return net.linear(x)
        x = x + depth
        with regions[kinds[depth]]():
            x = nested(net, x * 2, depth + 1)
        return x.sigmoid() + depth

    # Nothing is cast, in float64.
    done = rewrite("inline_autocast", _net(lambda net, x: nested(net, x, 0)), noise(2, 4))
    assert not [call for call in done.calls if call.startswith("wrap_with")]
