"""Every family computes what its published code does; `tests/golden/NAME.json` and `.npz` hold one variant of each to it."""

from __future__ import annotations

from pathlib import Path

import published
import pytest
import torch

from edgekit import models
from edgekit.errors import UsageError
from edgekit.models import Variant

# The published code's own fp32 error, in standard deviations of its logits: up to 6e-4 for LSNet, 2e-6 for the others.
_LARGEST_ERROR = {"lsnet_t": 2e-3, "casvit_xs": 1e-4, "affnet_et": 1e-4, "spartan": 1e-4}

every_golden = pytest.mark.parametrize("name", sorted(_LARGEST_ERROR))
every_family = pytest.mark.parametrize("variant", [models.find(f) for f in models.families()], ids=lambda v: v.name)


def test_every_family_has_a_golden_variant() -> None:
    assert sorted(_LARGEST_ERROR) == sorted(path.stem for path in Path(published.GOLDEN).glob("*.json"))
    assert {models.family_of(models.find(name).name) for name in _LARGEST_ERROR} == set(models.families())


@every_golden
def test_logits_are_those_of_the_published_code(name: str) -> None:
    assert published.logits_error(models.find(name), name) < _LARGEST_ERROR[name]


@every_golden
def test_state_dict_is_that_of_the_published_checkpoints(name: str) -> None:
    assert published.shapes(models.build(models.find(name))) == published.golden(name)["state_dict"]
    assert published.parameters(models.find(name)) == published.golden(name)["n_params"]


@every_family
def test_gradients_reach_every_parameter(variant: Variant) -> None:
    published.assert_trains(variant)


@every_family
def test_stand_in_weights_are_sane(variant: Variant) -> None:
    published.assert_sane_stand_in(variant)


@every_family
def test_the_smallest_and_the_largest_image_run_and_one_between_the_steps_is_refused(variant: Variant) -> None:
    for size in (variant.input_sizes[0], variant.input_sizes[-1]):
        sized = variant.at_size(size)
        with torch.no_grad():
            assert models.build(sized)(published.noise(*sized.input_shape)).shape == (1, 1000)
    with pytest.raises(UsageError, match="cannot take images of 200x200"):
        variant.at_size(200)


@pytest.mark.slow
@every_family
def test_it_is_captured_whole(variant: Variant) -> None:
    graph, module = published.captured(variant)
    forward = graph.functions["forward"]
    with torch.no_grad():
        assert torch.equal(forward.run(forward.example_inputs)["logits"], module(forward.example_inputs["image"]))
