"""int8-dynamic, int8-weight and int4-weight: what they make of each operator, and why they leave the rest."""

from __future__ import annotations

import pytest
from quantizing import Mixer, Net, ask, integers_of, noise, quantized
from torch import nn

from edgekit import quantize
from edgekit.errors import Unsupported
from edgekit.profiles import IntegerSupport
from edgekit.quantize.plan import Plan

ROWS = integers_of("host", "executorch")
"""Of a runtime that has integer weights beside integer activations alone."""


def _with(**support: object) -> IntegerSupport:
    return IntegerSupport.model_validate({"source": "a test", **support})


def _plan(scheme: str, support: IntegerSupport, module: nn.Module | None = None) -> Plan:
    return quantize.make_plan(ask(module or Mixer(), noise(1, 3, 16, 16), support=support, scheme=scheme))


def _whys(plan: Plan) -> set[str]:
    return {site.why for site in plan.sites if not site.changes}


def test_int8_dynamic_leaves_depthwise_convolutions() -> None:
    plan = _plan("int8-dynamic", ROWS)
    changed = [site for site in plan.sites if site.changes]
    assert {str(site.weight) for site in changed} == {"int8"}
    assert {site.activation for site in changed} == {"dynamic"}
    assert len(changed) == 5
    assert _whys(plan) == {"it has no constant weight", "ranges of each run's own are for convolutions of one group"}


def test_int8_dynamic_leaves_convolutions_of_one_channel() -> None:
    """XNNPACK takes as many groups as channels for depthwise."""
    net = Net(
        lambda net, x: net.second(net.first(x.mean(1, keepdim=True))), first=nn.Conv2d(1, 16, 3), second=nn.Conv2d(16, 8, 3)
    )
    first, second = (site for site in _plan("int8-dynamic", ROWS, net).sites if site.operator == "conv2d")
    assert not first.changes
    assert "depthwise" in first.why
    assert second.changes


def test_int8_weight_keeps_activations_in_floating_point() -> None:
    plan = _plan("int8-weight", _with(weights={"int8": ["conv2d"]}))
    changed = [site for site in plan.sites if site.changes]
    assert {site.operator for site in changed} == {"conv2d"}
    assert {site.activation for site in changed} == {None}
    assert "the runtime takes no weight of eight bits of linear" in _whys(plan)


def test_int8_weight_is_refused_where_integers_want_integers() -> None:
    with pytest.raises(Unsupported, match="int8-weight changes nothing") as caught:
        quantized(ask(Mixer(), noise(1, 3, 16, 16), support=ROWS, scheme="int8-weight"))
    assert "with integer activations alone: int8-dynamic" in str(caught.value)


@pytest.mark.parametrize(
    ("support", "activation"), [(ROWS, "dynamic"), (_with(weights={"int4": ["linear", "conv2d"]}), None)], ids=["rows", "own"]
)
def test_int4_weight_is_for_linears_and_pointwise_convolutions(support: IntegerSupport, activation: str | None) -> None:
    plan = _plan("int4-weight", support)
    changed = [site for site in plan.sites if site.changes]
    assert [str(site.weight) for site in changed] == ["int4 in groups of 32"] * 4
    assert {site.activation for site in changed} == {activation}
    assert "four bits are for linears and pointwise convolutions" in _whys(plan)


def test_int4_weight_gives_eight_bits_to_what_falls_into_no_groups() -> None:
    plan = _plan("int4-weight", ROWS, Mixer(expanded=40))
    (odd,) = (site for site in plan.sites if str(site.weight) == "int8")
    assert odd.why == "eight bits: its 40 input channels are no multiple of 32"


def test_int4_weight_is_refused_where_no_weight_has_four_bits() -> None:
    eight_alone = ask(Mixer(), noise(1, 3, 16, 16), support=integers_of("iphone", "coreml"), scheme="int4-weight")
    with pytest.raises(Unsupported, match="int4-weight changes nothing") as caught:
        quantized(eight_alone)
    assert "the runtime takes no weights of four bits" in caught.value.cause
    assert "--target coreml --device iphone-16-pro" in caught.value.next_step
