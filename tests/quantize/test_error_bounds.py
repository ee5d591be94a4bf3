"""How far a quantized operator may be from its original, operator by operator, from the steps of its grids alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from quantizing import Net, ask, calls, graph_of, grid_of, noise, quantized, run
from torch import Tensor, nn

from edgekit import quantize as quantization

Bound = Callable[[list[Tensor], list[float], Tensor | None], Tensor]


@dataclass
class _Case:
    """One operator, and by how much its result moves when its operands move by half a step."""

    net: nn.Module
    inputs: list[Tensor]
    bound: Bound
    """Of the operands' values, their half steps, and the half steps of the weights."""


def _product(operator: Callable[[Tensor, Tensor], Tensor], weight: Tensor) -> Bound:
    """|sum (w + dw) (x + dx) - w x| <= sum (|w| + |dw|) (|x| + |dx|) - |w| |x|"""

    def bound(values: list[Tensor], halves: list[float], weight_halves: Tensor | None) -> Tensor:
        assert weight_halves is not None
        x, w = values[0].double().abs(), weight.detach().double().abs()
        return operator(x + halves[0], w + weight_halves.view(-1, *[1] * (w.dim() - 1))) - operator(x, w)

    return bound


@st.composite
def _cases(draw: st.DrawFn) -> _Case:
    seed = draw(st.integers(0, 999))
    magnitudes = st.floats(-3, 3).map(lambda power: 10**power)
    x = noise(2, 4, 5, 5, seed=seed) * draw(magnitudes) + draw(st.floats(-2, 2))
    other = noise(2, 4, 5, 5, seed=seed + 1) * draw(magnitudes)
    torch.manual_seed(seed)
    kind = draw(st.sampled_from(["conv2d", "linear", "add", "mul", "cat", "adaptive_avg_pool2d"]))
    if kind == "conv2d":
        conv = nn.Conv2d(
            4, 8, draw(st.sampled_from([1, 3])), padding=draw(st.integers(0, 1)), groups=draw(st.sampled_from([1, 2, 4]))
        )
        relu = draw(st.booleans())
        net = Net(lambda net, x: net.conv(x).relu() if relu else net.conv(x), conv=conv)
        return _Case(net, [x], _product(lambda a, w: F.conv2d(a, w, None, 1, conv.padding, 1, conv.groups), conv.weight))
    if kind == "linear":
        fc = nn.Linear(5, 3, bias=draw(st.booleans()))
        return _Case(Net(lambda net, x: net.fc(x), fc=fc), [x], _product(F.linear, fc.weight))
    if kind == "add":
        return _Case(Net(lambda net, a, b: a + b), [x, other], lambda values, halves, _: torch.tensor(sum(halves)))
    if kind == "mul":
        return _Case(Net(lambda net, a, b: a * b), [x, other], _bound_of_mul)
    if kind == "cat":
        return _Case(
            Net(lambda net, a, b: torch.cat([a, b], 1)), [x, other], lambda values, halves, _: torch.tensor(max(halves))
        )
    return _Case(Net(lambda net, x: F.adaptive_avg_pool2d(x, 1)), [x], lambda values, halves, _: torch.tensor(halves[0]))


def _bound_of_mul(values: list[Tensor], halves: list[float], _: Tensor | None) -> Tensor:
    a, b = (value.double().abs() for value in values)
    return (a + halves[0]) * (b + halves[1]) - a * b


@given(_cases())
def test_a_quantized_operator_stays_within_the_steps_of_its_grids(case: _Case) -> None:
    """The operands are within half a step, and so is the result, which lies in the range that it was calibrated on."""
    request = ask(case.net, *case.inputs)
    plan = quantization.make_plan(request)
    assume(all(site.changes for site in plan.sites))  # a sum of which one operand is too small is left
    program = quantized(request, plan)
    with torch.no_grad():
        expected = case.net(*case.inputs).double()
    (found,) = run(program, *case.inputs)
    *operands, result = calls(program, "quantize_per_tensor")
    of_weights = calls(program, "dequantize_per_channel")
    weight_halves = graph_of(program).get_buffer(str(of_weights[0].args[1].target)).double() / 2 if of_weights else None
    bound = case.bound(case.inputs, [grid_of(node)[0] / 2 for node in operands], weight_halves)
    roundoff = 1e-4 * expected.abs().max()  # float32, and ties that it breaks to the other side
    allowed = bound + grid_of(result)[0] * 0.501 + roundoff
    assert bool(((found.double() - expected).abs() <= allowed).all())
