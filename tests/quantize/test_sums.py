"""Sums on whose grid most of what is added would vanish stay in floating point: a residual stream with an outlier."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from quantizing import INTEGERS, Net, ask, calls, noise, quantized, run
from torch import Tensor, nn

from edgekit import metrics
from edgekit import quantize as quantization
from edgekit.program import Program
from edgekit.quantize import sums
from edgekit.quantize.asking import Request
from edgekit.quantize.plan import Plan
from edgekit.quantize.schemes import int8

BLOCKS = 10


def _stream(outlier: float) -> Net:
    """A stem whose first channel is `outlier` times as large as the others, blocks that add three hundredths of the others to
    them, and a head that does not read that channel."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        for block in net.blocks:
            x = x + block(x)
        return net.head(x)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    stem, head = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 8, 1)
    blocks = [nn.Conv2d(16, 16, 1, bias=False) for _ in range(BLOCKS)]
    with torch.no_grad():
        stem.weight[0] *= outlier
        head.weight[:, 0] = 0
        for block in blocks:
            block.weight.copy_(0.03 * torch.eye(16).view(16, 16, 1, 1))
            block.weight[0] = 0
    return Net(forward, stem=stem, blocks=nn.ModuleList(blocks), head=head).eval()


def _small(request: Request) -> list[str]:
    """The sums that would round away what they add, were all integers that can be."""
    assigned = tuple(int8.assign(site, request.support, None) for site in request.sites)
    return [site.node.name for site in sums.rounded_away(request, Plan(model="net", graph="", scheme="int8", sites=assigned))]


def _left(request: Request) -> list[str]:
    return [site.node for site in quantization.make_plan(request).sites if site.why == sums.WHY]


def _sqnr_db(request: Request, program: Program, x: Tensor) -> float:
    (expected,), (found,) = run(request.program, x), run(program, x)
    return metrics.sqnr_db(expected.numpy(force=True), found.numpy(force=True))


def test_sums_that_would_round_away_what_they_add_stay_in_floating_point() -> None:
    x = noise(1, 3, 12, 12)
    request = ask(_stream(10.0), x)
    assert len(_left(request)) == BLOCKS
    sums_made = calls(quantized(request), "add")
    assert all(after.all_input_nodes[0] is before for before, after in itertools.pairwise(sums_made))


def test_what_the_blocks_add_is_there_again(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(1, 3, 12, 12)
    request = ask(_stream(10.0), x)
    kept = _sqnr_db(request, quantized(request), x)
    monkeypatch.setattr(sums, "rounded_away", lambda asked, plan: [])
    lost = _sqnr_db(request, quantized(request), x)
    assert lost < 14 < 20 < kept, (lost, kept)


def test_a_stream_without_outliers_keeps_its_integers() -> None:
    assert _small(ask(_stream(1.0), noise(1, 3, 12, 12))) == []


def test_what_is_rectified_is_judged_without_its_zeros() -> None:
    torch.manual_seed(0)
    net = Net(
        lambda net, x: net.head(net.stem(x) + torch.relu(net.side(x) - 1.0)),
        stem=nn.Conv2d(3, 16, 1),
        side=nn.Conv2d(3, 16, 1),
        head=nn.Conv2d(16, 4, 1),
    )
    assert _small(ask(net, noise(1, 3, 12, 12))) == []


def test_what_is_small_beside_a_constant_or_taken_away_is_judged_too() -> None:
    torch.manual_seed(0)
    parts = {"stem": nn.Conv2d(3, 16, 1), "side": nn.Conv2d(3, 16, 1), "head": nn.Conv2d(16, 4, 1)}
    with torch.no_grad():
        for tensor in parts["side"].parameters():
            tensor.mul_(1e-3)
    support = INTEGERS.model_copy(update={"operators": (*INTEGERS.operators, "sub")})
    net = Net(lambda net, x: net.head(net.stem(x) - net.side(x)), **parts)
    assert len(_small(ask(net, noise(1, 3, 12, 12), support=support))) == 1
    net = Net(lambda net, x: net.head(net.side(x) + net.large), **parts, large=noise(1, 16, 1, 1))
    assert len(_small(ask(net, noise(1, 3, 12, 12), support=support))) == 1


def test_the_grid_is_that_of_what_is_computed_with_the_sum() -> None:
    """A ReLU that the runtime computes together with the sum takes half of the range, and with it half of the step."""
    torch.manual_seed(0)
    parts = {"stem": nn.Conv2d(3, 16, 1, bias=False), "side": nn.Conv2d(3, 16, 1, bias=False), "head": nn.Conv2d(16, 4, 1)}
    x = noise(1, 3, 12, 12)
    with torch.no_grad():
        stem, side = parts["stem"](x), parts["side"](x)
        parts["side"].weight.mul_(0.35 * float(stem.aminmax().max - stem.aminmax().min) / 255 / float(side.abs().median()))
    assert len(_small(ask(Net(lambda net, x: net.head(net.stem(x) + net.side(x)), **parts), x))) == 1
    assert _small(ask(Net(lambda net, x: net.head(torch.relu(net.stem(x) + net.side(x))), **parts), x)) == []


def test_small_sums_stay_integers_where_the_outputs_do_not_show_it() -> None:
    torch.manual_seed(0)
    net = Net(
        lambda net, x: net.head(net.stem(x) + 1e-3 * net.side(x)),
        stem=nn.Conv2d(3, 16, 1),
        side=nn.Conv2d(3, 16, 1),
        head=nn.Conv2d(16, 4, 1),
    )
    request = ask(net, noise(1, 3, 12, 12))
    assert len(_small(request)) == 1
    assert _left(request) == []
