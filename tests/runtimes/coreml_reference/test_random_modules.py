"""Random modules, converted by coremltools: what the package computes is what PyTorch does."""

from __future__ import annotations

import tempfile
from pathlib import Path

import coremltools
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_modules import BLOCKS, CHANNELS, SIZE
from torch import nn

from edgekit import metrics
from edgekit.quiet import quiet
from edgekit.runtimes import coreml_reference

pytestmark = pytest.mark.slow


@settings(max_examples=12)
@given(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=3, max_size=7), st.integers(0, 9), st.sampled_from([15, 16, 17, 18]))
def test_a_converted_module_computes_what_pytorch_does(names: list[str], seed: int, ios: int) -> None:
    assume(ios > 15 or "pixel shuffle" not in names)  # iOS 15 has no pixel_unshuffle
    torch.manual_seed(seed)
    module = nn.Sequential(*(BLOCKS[name]() for name in names)).eval()
    x = torch.randn(1, CHANNELS, SIZE, SIZE)
    with torch.no_grad():
        expected = module(x).numpy()
        exported = torch.export.export(module, (x,)).run_decompositions({})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mlpackage"
        with quiet():
            coremltools.convert(
                exported,
                inputs=[coremltools.TensorType(name="x", shape=x.shape, dtype=np.float32)],
                outputs=[coremltools.TensorType(name="y", dtype=np.float32)],
                minimum_deployment_target=getattr(coremltools.target, f"iOS{ios}"),
                compute_precision=coremltools.precision.FLOAT32,
                skip_model_load=True,
            ).save(str(path))
        found = coreml_reference.open(path).run({"x": x.numpy()})["y"]
    assert metrics.sqnr_db(expected, found) > 80, names
