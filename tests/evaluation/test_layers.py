"""`edgekit evaluate --sensitivity`: which layers of a quantized artifact cost what, from export to report."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import Command, assert_error
from evaluated_models import samples

from edgekit import report
from edgekit.evaluation import results

_FACTORY = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 6)),
    )
"""


@pytest.mark.slow
def test_the_layers_of_an_artifact_are_told_and_drawn(tmp_path: Path, edgekit: Command, brief: None) -> None:
    (tmp_path / "model.py").write_text(_FACTORY, encoding="utf-8")
    shape = ",".join(map(str, (1, *samples().shape[1:])))
    data, output = tmp_path / "samples.npz", tmp_path / "results.json"
    np.savez(data, input=samples())
    model = ("export", f"{tmp_path}/model.py:build", "--target", "onnx", "--input-shape", shape)
    assert edgekit(*model, "--quantize", "int8", "--calibration", data, "--output", tmp_path).code == 0
    (made,) = tmp_path.glob("*-int8")

    done = edgekit("evaluate", made, "--data", data, "--limit", 20, "--sensitivity", "--output", output)
    assert done.code == 0
    assert "of the noise" in done.out
    (told,) = [one.sensitivity for one in results.read(output) or () if one.sensitivity is not None]
    assert {site.module for site in told.sites} == {"2", "4"}  # the first has too few channels, the last is read as it is
    assert told.sites[0].sqnr_db <= told.sites[1].sqnr_db
    assert sum(site.noise_share for site in told.sites) == pytest.approx(1)
    written = report.write([output], tmp_path / "report")
    assert "sensitivity" in [section.name for section in written.sections if section.absent is None]

    np.savez(data, input=samples() + 1)
    assert_error(edgekit("evaluate", made, "--data", data, "--sensitivity"), 2, "are others now")
    data.rename(tmp_path / "elsewhere.npz")
    moved = edgekit("evaluate", made, "--data", tmp_path / "elsewhere.npz", "--sensitivity")
    assert_error(moved, 2, "the calibration data")
    shutil.rmtree(made)


def test_what_was_not_quantized_has_none(edgekit: Command, models: Path, labelled: Path) -> None:
    done = edgekit("evaluate", models / "exact.onnx", "--data", labelled, "--sensitivity")
    assert done.code == 2
    assert "--sensitivity has nothing to look at" in done.err
