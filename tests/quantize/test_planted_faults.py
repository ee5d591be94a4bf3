"""Faults that quantization meets, each planted in one layer: sensitivity ranks that layer first, and `mixed` gets back nine
tenths of the decibels lost or more, leaving at most two layers in floating point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache

import pytest
import torch
from quantizing import ask, noise, quantized
from torch import Tensor, nn
from torch.fx import Node

from edgekit.profiles import IntegerSupport
from edgekit.quantize import make_plan, sensitivity, weights
from edgekit.quantize.asking import Request
from edgekit.quantize.noise import of_program, sqnr_db
from edgekit.quantize.plan import Plan
from edgekit.quantize.ranges import Histogram
from edgekit.recipe import Quantize

RECOVERED = 0.9
"""Of the decibels between the sound model in eight bits and the one with the fault."""
LEAST_LOST_DB = 6.0
"""A fault that costs less is none."""
MOST_LEFT = 2
"""Layers in floating point."""


class Net(nn.Module):
    """Convolutions of every kind and a classifier in a row: each reads what the one before it makes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.expand = nn.Conv2d(12, 24, 1)
        self.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.project = nn.Conv2d(24, 16, 1)
        self.mix = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            for layer in self.children():
                layer.weight *= 2.5  # as strong at the end as at the start, which a trained model is

    def forward(self, image: Tensor) -> Tensor:
        made = torch.relu(self.stem(image))
        made = torch.relu(self.expand(made))
        made = torch.relu(self.depthwise(made))
        made = torch.relu(self.project(made))
        made = torch.relu(self.mix(made))
        scores: Tensor = self.head(made.mean((2, 3)))
        return scores


def asked(net: Net) -> Request:
    request = ask(net, noise(1, 3, 10, 10))
    request.samples = [{"x0": noise(1, 3, 10, 10, seed=seed)} for seed in range(1, 9)]
    return request


# Faults of the model.


def outlier_channel(net: Net) -> None:
    """One channel of what `expand` makes is a thousand times the others; what the model computes is the same."""
    net.expand.weight[0] *= 1000
    net.expand.bias[0] *= 1000
    net.depthwise.weight[0] /= 1000


def unread_channel(net: Net) -> None:
    """One channel of what `project` makes is far away from zero, and nothing reads it."""
    net.project.bias[0] += 2000
    net.mix.weight[:, 0] = 0


def outlier_weights(net: Net) -> None:
    """The largest weights of `project` are for a channel that is always zero."""
    net.depthwise.bias[3] = -1000
    net.project.weight[:, 3] = 300


def loud_channel(net: Net) -> None:
    """One channel of `expand` has weights 2^10 times as large, and its ReLU lets none of it through."""
    net.expand.weight[5] *= 2**10
    net.expand.bias[5] = -1e7


# Faults of calibration: a tensor was not seen as it is.


def narrow(seen: Histogram) -> None:
    seen.low, seen.high = seen.low / 30, seen.high / 30


def wide(seen: Histogram) -> None:
    seen.low, seen.high = seen.low * 500, seen.high * 500


def dead(seen: Histogram) -> None:
    seen.low = seen.high = 0.0


def dim(seen: Histogram) -> None:
    seen.high = seen.low + 0.15 * (seen.high - seen.low)


def mirrored(seen: Histogram) -> None:
    seen.low, seen.high = -seen.high, -seen.low


def in_calibration(layer: str, change: Callable[[Histogram], None]) -> Callable[[Request], None]:
    """The tensor that a layer makes was seen otherwise."""

    def plant(request: Request) -> None:
        node = made_by(request, layer)
        change(request.histograms([node])[node])

    return plant


def swapped_zero_points(request: Request) -> None:
    """Those of what `stem` reads and of what it makes, which span as much."""
    given, made = node_of(request, "stem").args[0], made_by(request, "stem")
    assert isinstance(given, Node)
    image, features = (request.histograms([node])[node] for node in (given, made))
    spans = [(one.high - one.low) for one in (image, features)]
    image.low, image.high, features.low, features.high = 0.0, spans[0], -spans[1] / 2, spans[1] / 2


# Faults of the scales of a weight.


@contextmanager
def scales(changed: Callable[[Tensor], Tensor], of: Tensor) -> Iterator[None]:
    """Those of one weight are `changed`."""
    right = weights.scales_of

    def wrong(values: Tensor, axis: int, support: IntegerSupport) -> Tensor:
        found = right(values, axis, support)
        return changed(found) if torch.equal(values, of) else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "scales_of", wrong)
        yield


FAULTS: dict[str, tuple[str, Callable[[Net], None] | None, Callable[[Request], None] | None, Callable[[Tensor], Tensor] | None]]
FAULTS = {
    "a huge outlier channel": ("expand", outlier_channel, None, None),
    "a channel far from zero that nothing reads": ("project", unread_channel, None, None),
    "weights for a channel that is always zero": ("project", outlier_weights, None, None),
    "a channel's weights times 2^10 on a scale for all": (
        "expand",
        loud_channel,
        None,
        lambda right: right.max().expand_as(right),
    ),
    "a too narrow range": ("depthwise", None, in_calibration("depthwise", narrow), None),
    "a wrong scale": ("project", None, in_calibration("project", wide), None),
    "a dead range": ("project", None, in_calibration("project", dead), None),
    "a saturated activation": ("mix", None, in_calibration("mix", dim), None),
    "a zero point at the other end": ("project", None, in_calibration("project", mirrored), None),
    "swapped zero points": ("stem", None, swapped_zero_points, None),
    "weights beyond what their scale reaches": ("mix", None, None, lambda right: right / 16),
    "weights that their scale rounds away": ("stem", None, None, lambda right: right * 50),
}


def node_of(request: Request, layer: str) -> Node:
    return next(site.node for site in request.sites if site.module == layer)


def made_by(request: Request, layer: str) -> Node:
    """What a layer makes, with the ReLU behind it."""
    (relu,) = node_of(request, layer).users
    return relu


def sqnr_db_of(request: Request, plan: Plan) -> float:
    """Of the worst sample."""
    return sqnr_db(max(power.worst for power in of_program(request.program, quantized(request, plan), request.samples)))


@cache
def sound_db() -> float:
    """What eight bits leave of the model without any fault."""
    request = asked(Net())
    return sqnr_db_of(request, make_plan(request))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_guilty_layer_is_ranked_first_and_mixed_mends_it(fault: str) -> None:
    guilty, in_model, in_request, in_scales = FAULTS[fault]
    net = Net()
    if in_model is not None:
        with torch.no_grad():
            in_model(net)
    request = asked(net)
    if in_request is not None:
        in_request(request)
    weight = dict(net.named_parameters())[f"{guilty}.weight"]
    with scales(in_scales, weight) if in_scales is not None else nullcontext():
        everything = make_plan(request)
        faulty_db = sqnr_db_of(request, everything)
        assert sound_db() - faulty_db >= LEAST_LOST_DB

        found = sensitivity.measure(request, everything)
        assert found.sites[0].module == guilty
        assert found.sites[0].noise_share > 0.5

        bound = faulty_db + RECOVERED * (sound_db() - faulty_db)
        request.settings = Quantize(scheme="mixed", least_sqnr_db=bound, ranges="min-max")
        plan = make_plan(request)
        left = [one for before, one in zip(everything.sites, plan.sites, strict=True) if before.changes and not one.changes]
        assert 1 <= len(left) <= MOST_LEFT, left
        assert guilty in [one.module for one in left]
        assert sqnr_db_of(request, plan) >= bound
