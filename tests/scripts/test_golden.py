"""Golden weights for any variant: those of the golden vectors where there are any, and sane ones where there are none."""

from __future__ import annotations

import json

import golden
import numpy as np
import torch

from edgekit import checkpoint, models, weights
from edgekit.models import Variant


def _logits(variant: Variant, shape: tuple[int, ...], seed: int = 0) -> tuple[str, torch.Tensor]:
    module = models.build(variant)
    source, path = golden.checkpoint(variant.name)
    weights.load_into(module, checkpoint.read(path), variant)
    image = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    with torch.no_grad():
        return source, module(torch.from_numpy(image))


def test_a_variant_with_vectors_gives_their_logits() -> None:
    known = json.loads((golden.VECTORS / "casvit_xs.json").read_text())
    source, logits = _logits(models.find("casvit_xs"), tuple(known["input_shape"]), known["input_seed"])
    assert source == "the golden vectors"
    with np.load(golden.VECTORS / "casvit_xs.npz") as vectors:
        expected = vectors["logits"]
    assert np.abs(logits.numpy() - expected).max() < 1e-4 * expected.std()


def test_a_family_s_vectors_are_its_smallest_s() -> None:
    assert golden.checkpoint("spartan_s")[0] == "the golden vectors"


def test_a_variant_without_vectors_gets_statistics_of_its_own_always_the_same() -> None:
    variant = models.find("casvit_s")
    source, logits = _logits(variant, variant.input_shape)
    assert source == "4 batches in training mode"
    assert 0.02 < logits.std() < 50
    before = golden.checkpoint("casvit_s")[1].read_bytes()
    assert golden.checkpoint("casvit_s")[1].read_bytes() == before
