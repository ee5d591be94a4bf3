"""Weights by palette: each is an index of a few bits into a table of values. Core ML keeps them so
(`constexpr_lut_to_dense`)."""

from __future__ import annotations

import torch
from torch import Tensor


def definition(indices: Tensor, palette: Tensor) -> Tensor:
    """The weight of `indices` [any shape], uint8, into `palette` [entries]."""
    return palette[indices.long()]


from_palette = torch.library.custom_op("edgekit::from_palette", definition, mutates_args=())


@from_palette.register_fake
def _(indices: Tensor, palette: Tensor) -> Tensor:
    return palette.new_empty(indices.shape)
