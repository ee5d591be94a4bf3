"""What is made of linears for the most part takes a fifth of its fp32 size with weights of four bits, on every target."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from vit import VisionTransformer

from edgekit import passes, profiles, quantize, targets
from edgekit.program import Program, capture, load
from edgekit.quantize.asking import Request
from edgekit.quiet import quiet
from edgekit.recipe import Quantize

pytestmark = pytest.mark.slow


def _size(program: Program, target: str, device: str, folder: Path) -> int:
    """Bytes of what a device gets, the graph, position embeddings and normalizations among them."""
    program.save(folder)
    built = folder / "built"
    built.mkdir()
    profile = profiles.for_target(profiles.load(device), target)
    made = targets.find(target).lower(load(folder), profile, built)
    files = (file for path in made for file in (path.rglob("*") if path.is_dir() else [path]))
    return sum(file.stat().st_size for file in files if file.is_file())


@pytest.mark.parametrize(
    ("target", "device"), [("onnx", "host"), ("executorch", "host"), ("coreml", "iphone-16-pro")], ids=lambda name: name
)
def test_a_transformer_takes_a_fifth(target: str, device: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    profile = profiles.for_target(profiles.load(device), target)
    assert profile.integers is not None
    with quiet():
        program = capture(VisionTransformer(256, 4, fused=True).eval(), {"x": torch.zeros(1, 3, 16, 16)})
        passes.run(program, profile)
        asked = Request(program, profile.integers, Quantize(scheme="int4-weight"), [], "vit")
        made = quantize.apply(asked, quantize.make_plan(asked))
        sizes = []
        for name, one in (("original", program), ("quantized", made)):
            (tmp_path / name).mkdir()
            sizes.append(_size(one, target, device, tmp_path / name))
    assert sizes[1] <= 0.2 * sizes[0], sizes
