"""CAS-ViT computes what the published code does, at its published cost."""

from __future__ import annotations

import published
import pytest
import torch

from edgekit import models, program
from edgekit.errors import UsageError
from edgekit.models import Variant, casvit

VARIANTS = list(casvit.VARIANTS.values())
SMALLEST = VARIANTS[0]


def test_logits_are_those_of_the_published_code() -> None:
    assert published.logits_error(SMALLEST, "casvit_xs") < 1e-4


def test_state_dict_is_that_of_the_published_checkpoints() -> None:
    assert published.shapes(models.build(SMALLEST)) == published.golden("casvit_xs")["state_dict"]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_parameters_are_the_published_ones_to_two_decimals(variant: Variant) -> None:
    assert round(published.parameters(variant) / 1e6, 2) == variant.published_params / 1e6


@pytest.mark.parametrize("variant", VARIANTS[:-1], ids=lambda v: v.name)
def test_macs_are_within_five_percent(variant: Variant) -> None:
    """Not casvit_t's, which no source at hand confirms."""
    assert published.macs(variant) == pytest.approx(variant.published_macs, rel=0.05)


def test_another_size_runs_and_one_between_the_steps_is_refused() -> None:
    larger = SMALLEST.at_size(256)
    with torch.no_grad():
        assert models.build(larger)(published.noise(*larger.input_shape)).shape == (1, 1000)
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
