"""Every LSNet variant on every target, from the model's name to an artifact that is proven; other image sizes and batches."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgekit
from edgekit.models import lsnet

pytestmark = pytest.mark.slow

_BOUND_DB = 80.0
"""Well above the bound an export needs (60 dB): what round-off alone leaves."""


@pytest.mark.parametrize("variant", lsnet.VARIANTS)
@pytest.mark.parametrize("target", ["onnx", "executorch", "coreml"])
def test_a_cell_is_lowered_and_proven(variant: str, target: str, tmp_path: Path) -> None:
    made = edgekit.export(variant, target, output=tmp_path)
    _assert_proven(made)
    assert made.manifest.model.parameters < 1.01 * lsnet.VARIANTS[variant].published_params
    assert {record.name: record.changed for record in made.manifest.passes}["lower_ska"] >= 5


@pytest.mark.parametrize("size", [96, 320])
def test_another_image_size_is_lowered_and_proven(size: int, tmp_path: Path) -> None:
    made = edgekit.export("lsnet_t", "onnx", input_size=size, output=tmp_path)
    _assert_proven(made)
    assert made.manifest.inputs[0].shape == (1, 3, size, size)


@pytest.mark.parametrize(("model", "target"), [("lsnet_t", "onnx"), ("casvit_xs", "executorch")])
def test_a_dynamic_batch_is_lowered_and_proven(model: str, target: str, tmp_path: Path) -> None:
    made = edgekit.export(model, target, max_batch=4, output=tmp_path)
    _assert_proven(made)
    assert made.manifest.inputs[0].max_shape == (4, 3, 224, 224)


def _assert_proven(made: edgekit.Artifact) -> None:
    parity = made.manifest.parity
    assert parity.conversion.sqnr_db is not None
    assert parity.conversion.sqnr_db >= _BOUND_DB
    assert parity.conversion.passed
    assert parity.conversion.top1_agreement == 1.0
    if made.manifest.precision == "fp32":
        assert parity.precision.passed
