"""Linear layers of one input that are added become one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import Net, noise, randomise, rewrite
from torch import Tensor, nn


def _mean_of(*heads: nn.Module) -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        total: Tensor = sum((head(x) for head in net.heads[1:]), start=net.heads[0](x))
        return total / len(net.heads)

    return randomise(Net(forward, heads=nn.ModuleList(heads)))


@pytest.mark.parametrize(
    "heads",
    [
        [nn.Linear(4, 5), nn.Linear(4, 5)],
        [nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(4, 5)],
        [nn.Linear(4, 5), nn.Linear(4, 5, bias=False)],
    ],
    ids=["two", "three", "one without bias"],
)
@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 4), (4,)], ids=str)
def test_heads_become_one(heads: list[nn.Module], shape: tuple[int, ...]) -> None:
    done = rewrite("average_heads", _mean_of(*heads), noise(*shape))
    assert done.changed == 1
    assert done.calls == ["linear", "div"]
    assert done.program.parameter_count() == 4 * 5 + 5


def test_no_bias_is_made_where_none_was() -> None:
    done = rewrite("average_heads", _mean_of(nn.Linear(4, 5, bias=False), nn.Linear(4, 5, bias=False)), noise(2, 4))
    assert done.program.parameter_count() == 4 * 5


def test_a_head_that_is_an_output_too_is_refused() -> None:
    def forward(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        first = net.a(x)
        return first + net.b(x), first

    done = rewrite("average_heads", randomise(Net(forward, a=nn.Linear(4, 5), b=nn.Linear(4, 5))), noise(2, 4))
    done.assert_refused("linear (a) is used elsewhere too")


@pytest.mark.parametrize(
    "total",
    [lambda a, b: a + a + b, lambda a, b: (a + b) + (a + b), lambda a, b: (both := a + b) + both],
    ids=["one", "both", "their sum"],
)
def test_a_head_that_is_added_twice_is_refused(total: object) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return net.total(net.a(x), net.b(x))

    net = randomise(Net(forward, a=nn.Linear(4, 5), b=nn.Linear(4, 5), total=total))
    done = rewrite("average_heads", net, noise(2, 4))
    assert done.changed == 0
    assert any("added twice" in reason or "used elsewhere" in reason for reason in done.reasons)


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: torch.add(net.a(x), net.b(x), alpha=2),
        lambda net, x: net.a(x) + net.b(-x),
        lambda net, x: net.a(x) + net.one(x),
    ],
    ids=["alpha", "other inputs", "broadcast"],
)
def test_what_is_no_plain_sum_of_one_input_stays(forward: object) -> None:
    net = randomise(Net(forward, a=nn.Linear(4, 5), b=nn.Linear(4, 5), one=nn.Linear(4, 1)))
    done = rewrite("average_heads", net, noise(2, 4))
    assert done.changed == 0
    assert done.graph == done.graph_before


@given(st.data())
def test_random_sums_of_heads_keep_their_outputs(data: st.DataObject) -> None:
    heads = [nn.Linear(3, 3, bias=data.draw(st.booleans())) for _ in range(data.draw(st.integers(2, 4)))]
    order = data.draw(st.lists(st.integers(-1, len(heads) - 1), min_size=2, max_size=5))

    def forward(net: Net, x: Tensor) -> Tensor:
        made = [head(x) for head in net.heads] + [x]
        total = made[order[0]]
        for index in order[1:]:
            total = total + made[index]
        return total

    rewrite("average_heads", randomise(Net(forward, heads=nn.ModuleList(heads)), data.draw(st.integers(0, 99))), noise(2, 3))
