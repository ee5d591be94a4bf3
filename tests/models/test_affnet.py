"""AFFNet has the published cost."""

from __future__ import annotations

import math

import published
import pytest
import torch

from edgekit import models
from edgekit.models import Variant, affnet

VARIANTS = list(affnet.VARIANTS.values())
SMALLEST = VARIANTS[0]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_parameters_are_the_published_ones_cut_to_one_decimal(variant: Variant) -> None:
    assert math.floor(published.parameters(variant) / 1e5) == round(variant.published_params / 1e5)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_macs_are_the_published_ones_to_one_decimal(variant: Variant) -> None:
    """One decimal of 0.4 G is 12 %; ours count no Fourier transforms."""
    assert round(published.macs(variant) / 1e9, 1) == variant.published_macs / 1e9


def test_rows_of_odd_length_are_transformed() -> None:
    """At 224 the last stage has them."""
    smaller = SMALLEST.at_size(224)
    with torch.no_grad():
        assert models.build(smaller)(published.noise(*smaller.input_shape)).shape == (1, 1000)


@pytest.mark.parametrize("width", [8, 7], ids=["even", "odd"])
def test_a_constant_mask_makes_the_filter_a_scale(width: int) -> None:
    mixer = affnet.FrequencyFilter(16)
    for parameter in (mixer.w1, mixer.b1, mixer.w2, mixer.b2):
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        mixer.b2[0] = 3.0
        x = published.noise(1, 16, 6, width)
        torch.testing.assert_close(mixer(x), x + (3.0 - 0.01) * x)  # soft shrinkage takes 0.01
