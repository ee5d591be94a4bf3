"""What depends on weights alone is computed once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, call_names, noise, randomise, rewrite
from torch import Tensor, nn

from edgekit import passes
from edgekit.program import capture


def test_a_table_looked_up_from_weights_becomes_a_constant() -> None:
    index = torch.tensor([[0, 1], [1, 2]])
    net = Net(lambda net, x: x + net.biases[:, index].softmax(-1), biases=nn.Parameter(torch.zeros(3, 3)))
    done = rewrite("fold_constants", randomise(net), noise(3, 2, 2))
    assert done.changed >= 2
    assert done.calls == ["add"]
    assert done.program.parameter_count() == 3 * 2 * 2


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: x + torch.arange(4, dtype=torch.float64),
        lambda net, x: x * net.table.t().contiguous().t()[0],
        lambda net, x: x + net.table.split(2, 1)[1].sum() - torch.ones(4, dtype=torch.float64),
        lambda net, x: (x, net.table * 2),
    ],
    ids=["range", "layouts", "split", "as an output"],
)
def test_constants_fold_whatever_their_form(forward: object) -> None:
    done = rewrite("fold_constants", randomise(Net(forward, table=torch.zeros(4, 4))), noise(2, 4))
    assert done.changed >= 1
    assert set(done.calls) <= {"add", "sub", "mul"}


def test_a_much_larger_value_is_refused() -> None:
    net = Net(lambda net, x: x + net.row.expand(600, 600), row=noise(600))
    rewrite("fold_constants", net, noise(600, 600)).assert_refused("its value takes 2,875,200 bytes more than its inputs")


def test_what_a_refused_value_shrinks_to_is_folded() -> None:
    net = Net(lambda net, x: x + net.row.expand(600, 600).mean(), row=noise(600))
    done = rewrite("fold_constants", net, noise(4))
    assert done.changed == 1
    assert done.calls == ["add"]


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: x + torch.rand(4, dtype=torch.float64),
        lambda net, x: x + torch.bernoulli(net.table),
        lambda net, x: x + nn.functional.dropout(net.table, 0.5, training=True),
    ],
    ids=["rand", "bernoulli", "dropout left in training"],
)
def test_random_values_are_drawn_at_every_inference(forward: object) -> None:
    program = capture(Net(forward, table=torch.full((4,), 0.5, dtype=torch.float64)), {"x": noise(4)})
    before = call_names(program)
    (changes,) = passes.run(program, NO_LIMITS, ["fold_constants"])
    assert changes.changed == 0
    assert call_names(program) == before


def test_a_weight_that_is_written_to_is_no_constant() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        net.count.view(-1).add_(1)
        return x + net.count * 2

    net = Net(forward, count=torch.zeros(4))
    program = capture(net, {"x": noise(4)})
    (changes,) = passes.run(program, NO_LIMITS, ["fold_constants"])
    assert changes.changed == 0
    assert [refusal.reason for refusal in changes.refusals] == ["add_ writes in place"]


def test_a_condition_is_left_to_the_inference() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return x + torch.cond(net.table[0] > 0, lambda: net.table + 1, lambda: net.table - 1)

    assert "cond" in rewrite("fold_constants", Net(forward, table=noise(4)), noise(4)).calls


def test_branches_of_a_condition_are_no_constants() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: x + net.table, lambda x: x - net.table, (x,))

    assert rewrite("fold_constants", Net(forward, table=noise(4)), noise(4)).changed == 0


@given(st.lists(st.sampled_from(["tanh", "turn", "copy", "cut", "pair", "grow", "mix", "input"]), max_size=6))
def test_random_expressions_keep_their_outputs(steps: list[str]) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        value, total, scalar = net.table, x, x.sum()
        for step in steps:
            value = {
                "tanh": lambda v: v.tanh(),
                "turn": lambda v: v.transpose(0, 1),
                "copy": lambda v: v.contiguous(),
                "cut": lambda v: v[..., :3],
                "pair": lambda v: torch.stack(v.unbind(0)),
                "grow": lambda v: v.repeat(1, 2),
                "mix": lambda v: v @ v.transpose(0, 1),
                "input": lambda v: v + scalar,
            }[step](value)
            total = total + value.mean()
        return total

    rewrite("fold_constants", randomise(Net(forward, table=torch.zeros(4, 4))), noise(2, 4))
