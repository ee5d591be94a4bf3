"""GELU in its tanh form: near, and told apart from the exact passes."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rewriting import NO_LIMITS, Net, call_names, noise
from torch import Tensor, nn

from edgekit import passes
from edgekit.passes.approximate_gelu import MAX_ERROR
from edgekit.program import Program, capture


def _approximated(module: nn.Module, x: Tensor) -> tuple[Program, passes.Changes]:
    program = capture(module, {"x": x})
    (changes,) = passes.run(program, NO_LIMITS, ["approximate_gelu"], check=True)
    return program, changes


def test_the_error_stays_within_what_is_told() -> None:
    x = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    program, changes = _approximated(nn.GELU(), x)
    (found,) = program.functions["forward"].run({"x": x}).values()
    error = float((found - nn.GELU()(x)).abs().max())
    assert 0.9 * MAX_ERROR < error < MAX_ERROR
    assert (changes.changed, changes.approximate) == (1, True)


def test_a_gelu_that_is_approximate_already_stays() -> None:
    program, changes = _approximated(nn.GELU("tanh"), noise(4))
    assert changes.changed == 0
    assert call_names(program) == ["gelu"]


@given(st.lists(st.sampled_from(["gelu", "relu", "linear", "tanh gelu"]), max_size=5))
def test_random_networks_move_by_the_approximation_alone(layers: list[str]) -> None:
    """Exactly what the same module computes with the tanh form written in it."""
    torch.manual_seed(0)
    parts = {"relu": nn.ReLU, "linear": lambda: nn.Linear(4, 4), "tanh gelu": lambda: nn.GELU("tanh"), "gelu": nn.GELU}
    net = nn.Sequential(*(parts[layer]() for layer in layers), nn.Identity()).double()
    x = noise(3, 4)
    program, changes = _approximated(net, x)
    for module in net:
        if isinstance(module, nn.GELU):
            module.approximate = "tanh"
    (found,) = program.functions["forward"].run({"x": x}).values()
    torch.testing.assert_close(found, net(x), rtol=0, atol=0)
    assert changes.changed == layers.count("gelu")


def test_an_operator_of_another_kind_stays() -> None:
    program, changes = _approximated(Net(lambda net, x: torch.erf(x).sigmoid()), noise(4))
    assert (changes.changed, call_names(program)) == (0, ["erf", "sigmoid"])
