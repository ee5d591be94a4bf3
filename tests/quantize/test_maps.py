"""Maps on which integers do not pay stay in floating point."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantizing import INTEGERS, ask, noise
from torch import nn

from edgekit import quantize
from edgekit.profiles import IntegerSupport, Savings
from edgekit.quantize import maps, placement
from edgekit.quantize.plan import Plan

FREE = Savings(product=0.01, result=0.0, depthwise_result=0.0, gelu=0.0, conversion=0.0, layout=0.0)
DEAR = FREE.model_copy(update={"conversion": -1.0})


def _support(saves: Savings | None) -> IntegerSupport:
    return INTEGERS.model_copy(update={"conversions": "dear", "saves": saves, "least_products": 100})


def _net() -> nn.Module:
    """Few channels on 16x16, between activations without an integer kernel; more on 8x8, with nothing between."""
    early = [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 1), nn.SiLU(), nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.SiLU()]
    late = [nn.Conv2d(8, 32, 1), nn.Conv2d(32, 32, 1), nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.Conv2d(32, 8, 1)]
    return nn.Sequential(*early, *late, nn.Conv2d(8, 8, 1))


def _plan(saves: Savings | None) -> Plan:
    return quantize.make_plan(ask(_net(), noise(1, 3, 16, 16), support=_support(saves)))


def _left(saves: Savings | None) -> dict[str, str]:
    return {site.node: site.why for site in _plan(saves).sites if site.operator == "conv2d" and not site.activation}


def test_those_with_many_crossings_stay_and_those_behind_them_do_not() -> None:
    left = _left(DEAR.model_copy(update={"product": 0.1}))
    assert left["conv2d_1"] == left["conv2d_2"] == "on maps of 16x16 integers save less than it costs to get there"
    assert set(left) == {"conv2d", "conv2d_1", "conv2d_2", "conv2d_7"}


@pytest.mark.parametrize("saves", [None, FREE, DEAR.model_copy(update={"product": 1e3})])
def test_where_integers_pay_all_is_as_it_was(saves: Savings | None) -> None:
    assert set(_left(saves)) == {"conv2d", "conv2d_7"}


def test_a_model_in_which_they_never_pay_has_what_was_asked_for() -> None:
    left = _left(DEAR.model_copy(update={"product": 0.0}))
    assert set(left) == {"conv2d", "conv2d_1", "conv2d_2", "conv2d_7"}


@given(st.builds(Savings, **dict.fromkeys(Savings.model_fields, st.floats(-1, 1))))
def test_never_worse_by_what_the_profile_says(saves: Savings) -> None:
    request = ask(_net(), noise(1, 3, 16, 16), support=_support(None))
    support = _support(saves)
    plain = {site.node: one for site, one in zip(request.sites, quantize.make_plan(request).sites, strict=True)}
    chosen = placement.refined(request.sites, plain, support)
    before, after = (maps.saved_ns(request.sites, plan, support) for plan in (plain, chosen))
    assert after >= before
