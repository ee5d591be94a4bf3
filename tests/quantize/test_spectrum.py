"""Frequencies stay in floating point: a spectrum spans more than eight bits can tell apart."""

from __future__ import annotations

import pytest
import torch
from quantizing import INTEGERS, Net, ask, calls, noise, quantized
from torch import Tensor, nn

from edgekit import passes, profiles, quantize, recipe, sources, targets
from edgekit.quantize.asking import Request
from edgekit.quantize.sites import module_of
from edgekit.recipe import Quantize


class _Filter(nn.Module):
    """A spectrum that a layer within it filters."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x)
        return torch.fft.irfft2(spectrum * self.mask(spectrum.abs()), s=x.shape[-2:])


def _filtered(net: nn.Module) -> Request:
    """The request for a net rewritten without complex numbers."""
    request = ask(net, noise(1, 4, 8, 8))
    request.spectral = quantize.spectral_modules(request.program)
    passes.run(request.program, profiles.for_target(profiles.load("host"), "onnx"), passes.ORDER)
    return request


def test_modules_that_transform_stay_with_all_within_them() -> None:
    net = Net(
        lambda net, x: net.after(net.filter(net.before(x))),
        before=nn.Conv2d(4, 4, 1),
        filter=_Filter(),
        after=nn.Conv2d(4, 4, 1),
    )
    request = _filtered(net)
    assert request.spectral == {"filter"}
    plan = quantize.make_plan(request)
    within = [one for one in plan.sites if one.module.startswith("filter")]
    assert {one.module for one in within} == {"filter", "filter.mask"}
    assert all(one.why.startswith("frequencies span") and not one.changes for one in within)
    assert [one.module for one in plan.sites if one.changes] == ["before", "after"]
    program = quantized(request, plan)
    assert len(calls(program, "quantize_per_tensor")) == 4


def test_a_net_that_transforms_by_itself_keeps_its_parts() -> None:
    net = Net(lambda net, x: net.after(torch.fft.irfft2(torch.fft.rfft2(x) * 2, s=(8, 8)) + x), after=nn.Conv2d(4, 4, 1))
    request = _filtered(net)
    assert request.spectral == {""}
    assert [one.module for one in quantize.make_plan(request).sites if one.changes] == ["after"]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "coreml", "executorch"])
def test_affnet_s_filters_stay_on_every_target(target: str) -> None:
    asked = recipe.from_request(model="affnet_et", target=target, input_size=64)
    model = sources.load(asked)
    program = model.captured(asked)
    spectral = quantize.spectral_modules(program)
    filters = {name for name, module in model.module.named_modules() if type(module).__name__ == "FrequencyFilter"}
    assert spectral == filters
    assert len(filters) == 9
    passes.run(program, profiles.for_target(profiles.load(targets.find(target).DEVICE), target), passes.ORDER)
    # A runtime that could compute everything with integers.
    everything = {module_of(node): node for node in program.functions["forward"].graph_module.graph.nodes}
    assert filters <= set(everything)
    operators = ("conv2d", "linear", "matmul", "bmm", "add", "sub", "mul", "neg", "relu", "silu", "cat")
    able = INTEGERS.model_copy(update={"operators": operators, "fused": ()})
    request = Request(program, able, Quantize(scheme="int8"), [dict(model.inputs)], "affnet_et", spectral)
    plan = quantize.make_plan(request)
    for one, site in zip(plan.sites, request.sites, strict=True):
        kept = one.module in filters or site.node in request.normalizing
        assert one.changes == (not kept and one.operator in operators and not site.no_integers), one
    # Both transforms of each filter, and the two complex layers between them, were found as its own.
    for name in filters:
        products = [one for one in plan.sites if one.module == name and one.operator in ("conv2d", "linear", "matmul")]
        assert len(products) >= 6
    # Nothing around a filter is of unknown origin but the mean before the classifier.
    assert [one.operator for one in plan.sites if not one.module] in (["mean"], ["avg_pool2d"], ["adaptive_avg_pool2d"])
