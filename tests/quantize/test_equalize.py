"""Channels scaled between the layers that make and read them: nothing changes but round-off, and eight bits fit better."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from quantizing import Net, ask, noise, quantized, run
from torch import Tensor, nn

from edgekit import metrics
from edgekit import quantize as quantization
from edgekit.program import Program, capture
from edgekit.quantize import asking, equalize
from edgekit.quantize.equalize import By

_BY = st.sampled_from(["weights", "activations"])


def _equalized(net: nn.Module, x: Tensor, by: By) -> tuple[Program, list[str]]:
    """The net's program with channels scaled, in float64, proved to compute what it did."""
    program = capture(net.double().eval(), {"x0": x.double()})
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    changed = program.copy()
    scaled = equalize.apply(changed.functions["forward"], by, [{"x0": x.double()}])
    for inputs in (x.double(), x.double() * -0.7 + 0.3):
        for found, expected in zip(run(changed, inputs), run(program, inputs), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.state_dict().items())
    changed.export()
    return changed, scaled


def _conv(inputs: int, outputs: int, seed: int, *, kernel: int = 3, groups: int = 1) -> nn.Conv2d:
    """A convolution whose output channels differ in size by orders of magnitude."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
    with torch.no_grad():
        conv.weight.mul_(10 ** noise(outputs, 1, 1, 1, seed=seed))
    return conv


_PATHS: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda y: y,
    "relu": F.relu,
    "leaky relu": lambda y: F.leaky_relu(y, 0.2),
    "max pool": lambda y: F.max_pool2d(y, 2),
    "mean": lambda y: y.mean((2, 3), keepdim=True),
    "global pool": lambda y: F.adaptive_avg_pool2d(y.relu(), 1),
    "gate": lambda y: y.relu() * torch.linspace(0.1, 2, 6, dtype=y.dtype).view(1, 6, 1, 1),
    "there and back": lambda y: y.permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2),
    "transposed": lambda y: y.flatten(2).transpose(1, 2).relu().transpose(1, 2).unflatten(2, (6, 6)),
}


@given(path=st.sampled_from(sorted(_PATHS)), groups=st.sampled_from([1, 2, 6]), by=_BY, seed=st.integers(0, 99))
def test_channels_are_scaled_through_what_commutes_and_the_outputs_stay(path: str, groups: int, by: By, seed: int) -> None:
    net = Net(
        lambda net, x: net.second(_PATHS[path](net.first(x))),
        first=_conv(3, 6, seed),
        second=_conv(6, 12, seed + 1, groups=groups),
    )
    _, scaled = _equalized(net, noise(2, 3, 6, 6, seed=seed), by)
    assert scaled == ["conv2d"]


@pytest.mark.parametrize(
    "path",
    [
        lambda y: F.gelu(y),
        lambda y: y + 1,
        lambda y: y * y,
        lambda y: y * y.relu(),
        lambda y: y * y.sigmoid(),
        lambda y: 1 / (y + 1e3),
        lambda y: y.roll(1, 1),
        lambda y: y.transpose(1, 2),
        lambda y: y.permute(0, 3, 2, 1).relu(),
        lambda y: F.avg_pool2d(y.transpose(1, 3), 1).transpose(1, 2),
        lambda y: y.mean(1, keepdim=True).expand(-1, 6, -1, -1),
        lambda y: y.reshape(2, 6, 6, 6).flatten(0, 1).unflatten(0, (2, 6)),
    ],
)
@pytest.mark.parametrize("by", ["weights", "activations"])
def test_channels_stay_before_what_does_not_commute(path: Callable[[Tensor], Tensor], by: By) -> None:
    net = Net(lambda net, x: net.second(path(net.first(x))), first=_conv(3, 6, 0), second=_conv(6, 4, 1))
    assert _equalized(net, noise(2, 3, 6, 6), by)[1] == []


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: (net.second(net.first(x)), net.first(x)),
        lambda net, x: (lambda y: (net.second(y), y))(net.first(x)),
        lambda net, x: (lambda y: net.second(y) + y.relu()[:, :4])(net.first(x)),
        lambda net, x: net.second(net.first(net.first(x)[:, :3])),
    ],
)
def test_channels_that_others_read_stay(forward: Callable[..., Any]) -> None:
    net = Net(forward, first=_conv(3, 6, 0), second=_conv(6, 4, 1))
    assert _equalized(net, noise(2, 3, 6, 6), "weights")[1] == []


def test_all_readers_of_a_channel_multiply() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        y = net.first(x).relu()
        return torch.cat([net.second(y), net.third(F.max_pool2d(y, 3, 1, 1))], 1)

    net = Net(forward, first=_conv(3, 6, 0), second=_conv(6, 4, 1), third=_conv(6, 6, 2, groups=6))
    assert _equalized(net, noise(2, 3, 6, 6), "weights")[1] == ["conv2d"]


def test_a_chain_of_layers_agrees_on_its_channels() -> None:
    net = Net(
        lambda net, x: net.third(net.second(net.first(x).relu()).relu()),
        first=_conv(3, 6, 0, kernel=1),
        second=_conv(6, 6, 1, groups=6),
        third=_conv(6, 4, 2, kernel=1),
    )
    program, scaled = _equalized(net, noise(2, 3, 6, 6), "weights")
    assert scaled == ["conv2d", "conv2d_1"]
    first, second, third = (
        program.functions["forward"].graph_module.get_parameter(f"{name}.weight") for name in ("first", "second", "third")
    )
    made, through, read = first.abs().amax((1, 2, 3)), second.abs().amax((1, 2, 3)), third.abs().amax((0, 2, 3))
    torch.testing.assert_close(made, through, rtol=0.05, atol=0)
    torch.testing.assert_close(through, read, rtol=0.05, atol=0)


@pytest.mark.parametrize("dead", ["first", "second"])
def test_a_dead_channel_stays_as_it_is(dead: str) -> None:
    net = Net(lambda net, x: net.second(net.first(x).relu()), first=_conv(3, 6, 0), second=_conv(6, 4, 1))
    with torch.no_grad():
        if dead == "first":
            net.first.weight[2] = 0
            net.first.bias[2] = 0
        else:
            net.second.weight[:, 2] = 0
    for by in ("weights", "activations"):
        _equalized(net, noise(2, 3, 6, 6), by)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.LayerNorm(8, bias=False)])
def test_a_normalization_s_channels_are_scaled_by_activations(norm: nn.Module) -> None:
    net = Net(lambda net, x: net.q(net.norm(x)) * net.k(net.norm(x)), norm=norm, q=nn.Linear(8, 4), k=nn.Linear(8, 4))
    shared = Net(lambda net, x: (lambda y: net.q(y) * net.k(y))(net.norm(x)), norm=norm, q=nn.Linear(8, 4), k=nn.Linear(8, 4))
    assert _equalized(net, noise(2, 5, 8), "activations")[1] == []  # each of its two uses reads the same scale
    assert _equalized(shared, noise(2, 5, 8), "activations")[1] == ["layer_norm"]
    assert _equalized(shared, noise(2, 5, 8), "weights")[1] == []


def _sqnr_db(net: nn.Module, x: Tensor, by: str) -> float:
    program = quantized(asking.equalized(ask(net, x, equalize=by)))
    with torch.no_grad():
        return metrics.sqnr_db(net(x).numpy(), run(program, x)[0].numpy())


def test_channels_of_uneven_size_keep_more_of_the_signal() -> None:
    """SmoothQuant's case: a few channels a hundred times the others, whose readers' weights make up for it."""
    torch.manual_seed(0)
    net = Net(lambda net, x: net.fc(net.norm(x)), norm=nn.LayerNorm(64), fc=nn.Linear(64, 32))
    with torch.no_grad():
        net.norm.weight[:4] = 100.0
        net.fc.weight[:, :4] /= 100.0
    x = noise(16, 64)
    plain, smooth = (_sqnr_db(net, x, by) for by in ("none", "activations"))
    assert smooth > plain + 15


def test_a_program_s_plan_fits_it_scaled_or_not() -> None:
    net = Net(lambda net, x: net.second(net.first(x).relu()), first=_conv(3, 6, 0), second=_conv(6, 4, 1))
    plans = [quantization.make_plan(asking.equalized(ask(net, noise(1, 3, 6, 6), equalize=by))) for by in ("none", "weights")]
    assert plans[0] == plans[1]
