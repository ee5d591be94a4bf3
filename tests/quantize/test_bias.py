"""Bias correction keeps the mean of what a layer makes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from quantizing import INTEGERS, Net, ask, calls, noise, quantized, run
from torch import Tensor, nn

from edgekit.profiles import IntegerSupport
from edgekit.quantize.asking import Request

# Activations stay in floating point: what is left of the error is the weights', and its mean must vanish.
_WEIGHTS_ALONE = INTEGERS.model_copy(update={"activation": None})


def _request(net: nn.Module, samples: list[Tensor], *, correct_bias: bool, support: IntegerSupport = _WEIGHTS_ALONE) -> Request:
    request = ask(net, samples[0], support=support, correct_bias=correct_bias)
    request.samples = [{"x0": sample} for sample in samples]
    return request


def _shift(net: nn.Module, samples: list[Tensor], axis: int, *, correct_bias: bool) -> Tensor:
    """[channels along `axis`]: the mean of the error that weights of eight bits make."""
    from edgekit.quantize import make_plan
    from edgekit.quantize.plan import WeightFormat

    request = _request(net, samples, correct_bias=correct_bias)
    plan = make_plan(request)
    plan = plan.model_copy(
        update={"sites": tuple(one.model_copy(update={"weight": WeightFormat(kind="int8")}) for one in plan.sites)}
    )
    program = quantized(request, plan)
    with torch.no_grad():
        errors = [run(program, sample)[0].double() - net(sample).double() for sample in samples]
    error = torch.stack(errors).mean(0)
    return error.mean([place for place in range(error.dim()) if place != axis])


@given(
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    offset=st.floats(-5, 5),
    seed=st.integers(0, 99),
)
def test_the_mean_error_of_a_convolution_vanishes_padding_and_all(
    stride: int, padding: int, groups: int, bias: bool, offset: float, seed: int
) -> None:
    torch.manual_seed(seed)
    net = Net(lambda net, x: net.conv(x), conv=nn.Conv2d(4, 6, 3, stride, padding, groups=groups, bias=bias))
    samples = [noise(2, 4, 6, 6, seed=seed + number) + offset for number in range(3)]
    assert float(_shift(net, samples, 1, correct_bias=True).abs().max()) < 1e-5
    assert float(_shift(net, samples, 1, correct_bias=False).abs().max()) > 1e-5 or abs(offset) < 1


@pytest.mark.parametrize(
    ("layer", "shape", "axis"),
    [(nn.Linear(6, 3), (2, 5, 6), 2), (nn.Linear(6, 3, bias=False), (2, 6), 1), (nn.Conv1d(6, 3, 2), (2, 6, 5), 1)],
)
def test_the_mean_error_of_other_layers_vanishes(layer: nn.Module, shape: tuple[int, ...], axis: int) -> None:
    net = Net(lambda net, x: net.layer(x), layer=layer)
    samples = [noise(*shape, seed=seed) + 3 for seed in range(3)]
    assert float(_shift(net, samples, axis, correct_bias=True).abs().max()) < 1e-5
    assert float(_shift(net, samples, axis, correct_bias=False).abs().max()) > 1e-4


def test_a_computed_bias_and_a_product_s_constant_are_left() -> None:
    net = Net(lambda net, x: nn.functional.linear(x, net.w, x.mean(0)[:4]) @ net.v, w=noise(4, 8), v=noise(4, 3))
    program = quantized(_request(net, [noise(2, 8)], correct_bias=True, support=INTEGERS))
    (linear,) = calls(program, "linear")
    assert linear.args[2].op == "call_function"


def test_a_weight_of_two_layers_gets_a_bias_for_each() -> None:
    net = Net(lambda net, x: net.fc(net.fc(x) + 3), fc=nn.Linear(4, 4))
    program = quantized(_request(net, [noise(2, 4) + 3], correct_bias=True, support=INTEGERS))
    first, second = calls(program, "linear")
    assert first.args[2].target != second.args[2].target
