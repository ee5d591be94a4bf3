"""CAS-ViT has the published cost."""

from __future__ import annotations

import published
import pytest
import torch

from edgekit import models, program
from edgekit.models import Variant, casvit

VARIANTS = list(casvit.VARIANTS.values())
SMALLEST = VARIANTS[0]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_parameters_are_the_published_ones_to_two_decimals(variant: Variant) -> None:
    assert round(published.parameters(variant) / 1e6, 2) == variant.published_params / 1e6


@pytest.mark.parametrize("variant", VARIANTS[:-1], ids=lambda v: v.name)
def test_macs_are_within_five_percent(variant: Variant) -> None:
    """Not casvit_t's, which no source at hand confirms."""
    assert published.macs(variant) == pytest.approx(variant.published_macs, rel=0.05)


def test_feature_maps_of_the_four_stages() -> None:
    dims = SMALLEST.arguments["dims"]
    with torch.no_grad():
        maps = casvit.CASViT(**SMALLEST.arguments, features=True).eval()(published.noise(1, 3, 192, 256))
    assert [tuple(m.shape) for m in maps] == [(1, dim, 192 // s, 256 // s) for dim, s in zip(dims, (4, 8, 16, 32), strict=True)]


def test_feature_maps_have_the_backbone_of_the_classifier_and_norms_of_their_own() -> None:
    classifier = published.shapes(models.build(SMALLEST))
    backbone = published.shapes(casvit.CASViT(**SMALLEST.arguments, features=True))
    assert {name.split(".")[0] for name in classifier.keys() - backbone.keys()} == {"norm", "head", "dist_head"}
    assert {name.split(".")[0] for name in backbone.keys() - classifier.keys()} == {"norm0", "norm2", "norm4", "norm6"}


@pytest.mark.slow
def test_feature_maps_are_captured_as_four_outputs() -> None:
    module = casvit.CASViT(**SMALLEST.arguments, features=True)
    graph = program.capture(module, {"image": published.noise(1, 3, 192, 192)})
    assert graph.functions["forward"].output_names == ("output_0", "output_1", "output_2", "output_3")
