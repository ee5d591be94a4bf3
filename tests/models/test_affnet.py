"""AFFNet computes what the published code does, at its published cost."""

from __future__ import annotations

import math

import published
import pytest
import torch

from edgekit import models
from edgekit.errors import UsageError
from edgekit.models import Variant, affnet

VARIANTS = list(affnet.VARIANTS.values())
SMALLEST = VARIANTS[0]


def test_logits_are_those_of_the_published_code() -> None:
    assert published.logits_error(SMALLEST, "affnet_et") < 1e-4


def test_state_dict_is_that_of_the_published_checkpoints() -> None:
    assert published.shapes(models.build(SMALLEST)) == published.golden("affnet_et")["state_dict"]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_parameters_are_the_published_ones_cut_to_one_decimal(variant: Variant) -> None:
    assert math.floor(published.parameters(variant) / 1e5) == round(variant.published_params / 1e5)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_macs_are_the_published_ones_to_one_decimal(variant: Variant) -> None:
    """One decimal of 0.4 G is 12 %; ours count no Fourier transforms."""
    assert round(published.macs(variant) / 1e9, 1) == variant.published_macs / 1e9


def test_another_size_runs_and_one_between_the_steps_is_refused() -> None:
    """At 224 the last stage transforms rows of odd length."""
    smaller = SMALLEST.at_size(224)
    with torch.no_grad():
        assert models.build(smaller)(published.noise(*smaller.input_shape)).shape == (1, 1000)
    with pytest.raises(UsageError, match="cannot take images of 200x200"):
        SMALLEST.at_size(200)


def test_gradients_reach_every_parameter() -> None:
    published.assert_trains(SMALLEST)


def test_stand_in_weights_are_sane() -> None:
    published.assert_sane_stand_in(SMALLEST)


@pytest.mark.slow
def test_it_is_captured_whole() -> None:
    graph, module = published.captured(SMALLEST)
    forward = graph.functions["forward"]
    with torch.no_grad():
        assert torch.equal(forward.run(forward.example_inputs)["logits"], module(forward.example_inputs["image"]))


@pytest.mark.parametrize("width", [8, 7], ids=["even", "odd"])
def test_a_constant_mask_makes_the_filter_a_scale(width: int) -> None:
    mixer = affnet.FrequencyFilter(16)
    for parameter in (mixer.w1, mixer.b1, mixer.w2, mixer.b2):
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        mixer.b2[0] = 3.0
        x = published.noise(1, 16, 6, width)
        torch.testing.assert_close(mixer(x), x + (3.0 - 0.01) * x)  # soft shrinkage takes 0.01
