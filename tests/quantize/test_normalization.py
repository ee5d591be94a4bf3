"""Normalizations that are written out as means and products keep their variances in floating point."""

from __future__ import annotations

import pytest
import torch
from quantizing import Net, ask, integers_of, noise, quantized, run
from torch import Tensor, nn

from edgekit import metrics, passes, profiles, quantize
from edgekit.quantize import normalization
from edgekit.quantize.asking import Request

PROFILE = profiles.for_target(profiles.load("host"), "executorch")
"""Of a runtime without GroupNorm, which computes means, products and sums with integers."""


def _request(net: nn.Module, x: Tensor) -> Request:
    request = ask(net, x, support=integers_of("host", "executorch"))
    passes.run(request.program, PROFILE, ["lower_group_norm"])
    return request


def _between(norm: nn.Module) -> Net:
    """Convolutions around a normalization of 16 channels."""
    return Net(
        lambda net, x: net.after(net.norm(net.before(x))), before=nn.Conv2d(3, 16, 1), norm=norm, after=nn.Conv2d(16, 8, 1)
    )


def _rms(net: Net, x: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean((2, 3), keepdim=True) + 1e-6) * net.weight


@pytest.mark.parametrize(
    ("norm", "computed"),
    [
        (nn.GroupNorm(1, 16), "mean conv2d sub mul mean conv2d mul mul"),
        (nn.GroupNorm(4, 16), "mean conv2d conv2d sub mul mean conv2d conv2d mul mul"),
        (nn.GroupNorm(16, 16, affine=False), "mean sub mul mean mul"),
        (Net(_rms, weight=torch.linspace(0.5, 2, 16).reshape(16, 1, 1)), "mul mean mul"),
    ],
    ids=["layer", "group", "instance", "rms"],
)
def test_all_of_a_normalization_stays(norm: nn.Module, computed: str) -> None:
    request = _request(_between(norm), noise(1, 3, 8, 8))
    plan = quantize.make_plan(request)
    kept = [one.operator for one in plan.sites if one.why == normalization.WHY]
    assert [operator for operator in kept if operator not in ("add", "rsqrt")] == computed.split()
    assert [one.module for one in plan.sites if one.changes] == ["before"], "the last layer is read in floating point"


def test_a_root_of_something_else_keeps_nothing() -> None:
    net = Net(lambda net, x: net.conv(x) * (net.conv(x).mean((2, 3), keepdim=True) + 4).sqrt(), conv=nn.Conv2d(3, 8, 1))
    request = _request(net, noise(1, 3, 8, 8))
    assert not request.normalizing


def test_channels_far_apart_keep_their_scales() -> None:
    net = _between(nn.GroupNorm(4, 16))
    spread = torch.tensor([1.0, 3, 10, 30]).repeat_interleave(4)
    net.before.weight.data *= spread[:, None, None, None]
    net.before.bias.data *= spread
    x = noise(1, 3, 16, 16)
    expected = net.eval()(x).detach()
    program = quantized(_request(net, x))
    kept_db = metrics.sqnr_db(expected.numpy(), run(program, x)[0].numpy())
    assert kept_db > 15, "one scale for all channels costs no more; with variances of eight bits -40 dB are left"
