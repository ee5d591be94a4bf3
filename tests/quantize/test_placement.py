"""What stays in floating point for its neighbours' sake."""

from __future__ import annotations

import torch
from quantizing import INTEGERS, Net, ask, noise
from torch import Tensor, nn

from edgekit import quantize
from edgekit.profiles import IntegerSupport

DEAR = INTEGERS.model_copy(update={"conversions": "dear"})


def _plan(module: nn.Module, *inputs: Tensor, support: IntegerSupport) -> dict[str, str]:
    """By operator's node, why it is left in floating point; empty where it is not."""
    made = quantize.make_plan(ask(module, *inputs, support=support))
    return {site.node: "" if site.activation else site.why for site in made.sites}


def test_a_convolution_of_few_channels_stays() -> None:
    layers = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 1, 1), nn.Conv2d(1, 32, 3)]
    support = INTEGERS.model_copy(update={"least_products": 32})
    plan = _plan(nn.Sequential(*layers), noise(1, 3, 9, 9), support=support)
    assert plan == {
        "conv2d": "3 channels to 8 are too few for the integer kernel to be faster",
        "conv2d_1": "",
        "conv2d_2": "",
        "conv2d_3": "",
    }


def test_a_convolution_of_several_channels_a_group_stays() -> None:
    module = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=2))
    support = INTEGERS.model_copy(update={"grouped": False})
    assert "a group are slower" in _plan(module, noise(1, 8, 6, 6), support=support)["conv2d_1"]


def test_the_last_layer_stays_where_conversions_are_dear() -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    assert _plan(module, noise(1, 4, 3, 3), support=INTEGERS) == {"conv2d": "", "conv2d_1": ""}
    assert _plan(module, noise(1, 4, 3, 3), support=DEAR)["conv2d_1"] == "the last layer: its result is read in floating point"


def test_an_operator_without_weight_wants_integers_before_and_behind_it() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        early = x + x.roll(1, 3)
        middle = net.one(early)
        between = torch.relu(middle + early)
        late = net.two(between.reshape(1, 4, 9, 1))
        tail: Tensor = late + late.roll(1, 2)
        made: Tensor = net.last(tail.exp())
        return made

    module = Net(forward, one=nn.Conv2d(4, 4, 1), two=nn.Conv2d(4, 4, 1), last=nn.Conv2d(4, 4, 1))
    plan = _plan(module, noise(1, 4, 3, 3), support=DEAR)
    assert {node for node, why in plan.items() if "between operators" in why} == {"add", "add_2"}
    assert [plan[node] for node in ("conv2d", "add_1", "conv2d_1")] == ["", "", ""]
