"""Weights by palette, by hand."""

from __future__ import annotations

import torch

from edgekit.ops.palette import from_palette


def test_each_index_becomes_its_entry() -> None:
    indices = torch.tensor([[0, 2], [255, 1]], dtype=torch.uint8)
    palette = torch.arange(256) / 4.0
    assert from_palette(indices, palette).tolist() == [[0.0, 0.5], [63.75, 0.25]]


def test_the_operator_keeps_its_contract() -> None:
    indices = torch.randint(0, 4, (2, 3, 1, 1), dtype=torch.uint8)
    torch.library.opcheck(from_palette, (indices, torch.randn(4)))
