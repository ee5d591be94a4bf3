"""GELU between integers as `x sigmoid(slope x)`, where seven bits could not tell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from quantizing import INTEGERS, Net, ask, calls, noise, quantized, run
from torch import Tensor, nn

from edgekit import quantize
from edgekit.metrics import sqnr_db
from edgekit.quantize import gelu
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.ranges import BINS, Histogram

OPERATORS = (*INTEGERS.operators, "gelu")
SIGMOID = INTEGERS.model_copy(update={"gelu": "sigmoid", "operators": OPERATORS})
NATIVE = INTEGERS.model_copy(update={"operators": OPERATORS})


class _Mlp(nn.Module):
    def __init__(self, approximate: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 1)
        self.activation = nn.GELU(approximate=approximate)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.down(self.activation(self.up(x)))
        return made


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_it_is_silu_between_two_scales_and_nothing_else_moves(approximate: str) -> None:
    x = noise(1, 8, 16, 16)
    form, plain = (quantized(ask(_Mlp(approximate), x, support=support)) for support in (SIGMOID, NATIVE))
    (silu,) = calls(form, "silu")
    assert not calls(form, "gelu")
    (before,), (after,) = silu.all_input_nodes, silu.users
    slope = before.args[1] / before.args[0].args[1]  # type: ignore[operator, union-attr]  # the scales of a pair
    assert 1.55 < slope < 1.85
    (behind,) = after.users
    assert after.args[1] / behind.args[1] == pytest.approx(slope)  # type: ignore[operator]  # likewise
    exact, found, before_form = _Mlp(approximate)(x).detach(), run(form, x)[0], run(plain, x)[0]
    error, rounding = (float((made - exact).square().mean().sqrt()) for made in (found, before_form))
    assert error < 1.5 * rounding


def test_it_stays_where_its_result_is_finer_than_the_form() -> None:
    """Values where the form is furthest off; rounding to multiples of `made` has the error `made / sqrt(12)`."""
    centres = torch.linspace(-3.0, 1.0, BINS)
    seen = Histogram(-3.0, 1.0, ((centres + 2).abs() < 0.2).long().numpy())
    module = Net(lambda net, x: nn.functional.gelu(x))
    (node,) = [node for node in ask(module, noise(4)).program.functions["forward"].graph_module.graph.nodes if node.users][1:]
    assert gelu.fitted(node, seen, read=0.004, made=0.001) is None
    fit = gelu.fitted(node, seen, read=0.004, made=0.1)
    assert fit is not None
    values, counts = map(torch.from_numpy, seen.values)
    signal = float(nn.functional.gelu(values).square() @ (counts / counts.sum()))
    error = (signal / 10 ** (fit.sqnr_db / 10)) ** 0.5
    twice = error / 2 * 12**0.5
    assert gelu.fitted(node, seen, read=1e-6, made=1.05 * twice) is not None
    assert gelu.fitted(node, seen, read=1e-6, made=0.95 * twice) is None


def test_outside_of_integers_it_stays() -> None:
    module = Net(lambda net, x: nn.functional.gelu(net.conv(x).exp()), conv=nn.Conv2d(4, 4, 1))
    dear = SIGMOID.model_copy(update={"conversions": "dear"})
    last = Net(lambda net, x: net.last(module(x).exp()), module=module, last=nn.Conv2d(4, 4, 1), more=nn.Conv2d(4, 4, 1))
    assert calls(quantized(ask(last, noise(1, 4, 3, 3), support=dear)), "gelu")


def test_the_plan_tells_how_near_the_form_is(tmp_path: Path) -> None:
    x = noise(1, 8, 16, 16)
    for support, told in ((SIGMOID, True), (NATIVE, False)):
        program, record = quantize.run(ask(_Mlp("none"), x, support=support), Calibration([]), tmp_path)
        (why,) = (site.why for site in record.sites if site.operator == "gelu")
        assert bool(calls(program, "silu")) is told
        if told:
            found = re.fullmatch(r"computed as x sigmoid\((1\.\d+) x\), (\d+) dB from GELU in calibration", why)
            assert found
            read = _Mlp("none").up(x).detach()
            exact, form = nn.functional.gelu(read), read * torch.sigmoid(float(found[1]) * read)
            assert float(found[2]) == pytest.approx(sqnr_db(exact.numpy(), form.numpy()), abs=1.0)
        else:
            assert not why
