"""Sensitivity: each layer's noise alone is what quantizing it alone makes, and ranges are told as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quantizing import INTEGERS, Net, ask, noise, quantized
from torch import nn

from edgekit.quantize import make_plan, sensitivity
from edgekit.quantize.asking import Request
from edgekit.quantize.noise import Sources, of_program, pooled, sqnr_db
from edgekit.quantize.plan import Plan
from edgekit.quantize.ranges import Histogram
from edgekit.quantize.sensitivity import SiteSensitivity, range_of


def _layers(request: Request) -> dict[str, SiteSensitivity]:
    found = sensitivity.measure(request, make_plan(request))
    return {site.module or site.node: site for site in found.sites}


def _only(plan: Plan, *modules: str, **form: None) -> Plan:
    """The plan with all but these in floating point, and these changed as `form` says."""
    none = {"weight": None, "activation": None}
    sites = (one.model_copy(update=form if one.module in modules else none) for one in plan.sites)
    return plan.model_copy(update={"sites": tuple(sites)})


def _really_db(request: Request, plan: Plan) -> float:
    (power,) = of_program(request.program, quantized(request, plan), request.samples)
    return sqnr_db(power.relative)


def _two() -> Net:
    torch.manual_seed(0)
    parts = {"first": nn.Conv2d(3, 8, 3), "second": nn.Conv2d(8, 8, 3)}
    return Net(lambda net, x: net.second(torch.nn.functional.gelu(net.first(x))), **parts)


def test_a_weight_alone_makes_the_noise_of_the_graph_with_that_weight_alone() -> None:
    """Without a bias, which is rounded with the activations that the graph then has not."""
    net = _two()
    net.first.bias = net.second.bias = None
    request = ask(net, noise(1, 3, 8, 8))
    layers = _layers(request)
    for name in ("first", "second"):
        alone = _only(make_plan(request), name, activation=None)
        assert layers[name].weight_sqnr_db == pytest.approx(_really_db(request, alone), abs=1e-3)


def test_a_layer_alone_makes_the_noise_of_the_graph_with_that_layer_alone() -> None:
    """Between them is GELU in floating point: no tensor is both's."""
    request = ask(_two(), noise(1, 3, 8, 8))
    layers = _layers(request)
    for name in ("first", "second"):
        assert layers[name].sqnr_db == pytest.approx(_really_db(request, _only(make_plan(request), name)), abs=1.5)


def test_shares_add_up_and_a_tensor_counts_once() -> None:
    torch.manual_seed(0)
    net = Net(
        lambda net, x: net.last(torch.cat((net.left(x).chunk(2, 1)[0], net.right(x)), 1).permute(0, 1, 3, 2)),
        left=nn.Conv2d(3, 8, 1),
        right=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(8, 4, 1),
    )
    request = ask(net, noise(1, 3, 6, 6))
    plan = make_plan(request)
    found = sensitivity.measure(request, plan)
    assert sum(site.noise_share for site in found.sites) == pytest.approx(1)
    assert found.sum_sqnr_db == pytest.approx(found.sqnr_db, abs=1.5)
    sources = Sources(request.program, quantized(request, plan), plan)
    tensors = [source.tensor.name for source in sources.all if source.tensor is not None]
    assert sorted(tensors) == ["conv2d", "conv2d_1", "conv2d_2", "inputs_0"]  # what is moved or joined lies on its grid already
    (joined,) = [source for source in sources.all if source.tensor is not None and source.tensor.name == "conv2d"]
    assert {name.rstrip("_12") for name in joined.touches} == {"conv2d", "cat"}


def test_the_noisiest_samples_are_looked_at() -> None:
    """One of twelve has a value that the ranges of all do not cover."""
    request = ask(_two(), noise(1, 3, 32, 32), ranges="percentile")
    request.samples = [{"x0": noise(1, 3, 32, 32, seed=seed)} for seed in range(1, 13)]
    request.samples[7]["x0"][0, 0, 5, 5] = 40
    plan = make_plan(request)
    powers = of_program(request.program, quantized(request, plan), request.samples)
    found = sensitivity.measure(request, plan)
    assert found.samples == sensitivity.SAMPLES
    assert found.sqnr_db < sqnr_db(pooled(powers).relative) < sqnr_db(pooled(powers[::3]).relative)
    assert found.sites[0].module == "first"


def test_gelu_written_as_silu_is_judged_as_gelu() -> None:
    support = INTEGERS.model_copy(update={"gelu": "sigmoid", "operators": (*INTEGERS.operators, "gelu")})
    request = ask(_two(), noise(1, 3, 8, 8), support=support)
    found = sensitivity.measure(request, make_plan(request))
    assert found.sqnr_db > 25
    assert found.sum_sqnr_db == pytest.approx(found.sqnr_db, abs=3)


def test_outputs_count_alike_however_large_they_are() -> None:
    torch.manual_seed(0)
    net = Net(lambda net, x, y: (net.loud(x) * 1e4, net.quiet(y)), loud=nn.Linear(8, 8), quiet=nn.Linear(8, 8))
    support = INTEGERS.model_copy(update={"operators": ("linear",)})
    layers = _layers(ask(net, noise(4, 8), noise(4, 8), support=support))
    assert layers["loud"].sqnr_db == pytest.approx(layers["quiet"].sqnr_db, abs=4)


@pytest.mark.parametrize(
    ("counts", "ends", "saturated", "outliers", "dead"),
    [
        ({0: 500, 2047: 500}, (-1.0, 1.0), 0.0, 1.0, False),
        ({1536: 99_999, 2047: 1}, (-1.0, 1.0), 0.0, 2.0, False),
        ({1024: 750, 2047: 250}, (-4.0, 4.0), 0.25, 1.0, False),
        ({0: 1000}, (0.5, 0.5), 0.0, 1.0, True),
    ],
)
def test_ranges_are_told(
    counts: dict[int, int], ends: tuple[float, float], saturated: float, outliers: float, dead: bool
) -> None:
    """The grid covers -1 to 1."""
    request = ask(_two(), noise(1, 3, 8, 8))
    plan = make_plan(request)
    sources = Sources(request.program, quantized(request, plan), plan)
    node = next(iter(sources.grids))
    sources.grids[node] = (2 / 255, 127, 0, 255, torch.uint8)
    seen = Histogram(*ends, np.zeros(2048, np.int64))
    for place, count in counts.items():
        seen.counts[place] = count
    told = range_of(node, seen, sources)
    assert told.saturated == pytest.approx(saturated)
    assert told.outlier_ratio == pytest.approx(outliers, rel=0.05)
    assert told.is_dead == dead
    assert sum(told.counts) == sum(counts.values())
    assert (told.covered_low, told.covered_high) == pytest.approx((-1, 1), abs=0.01)
