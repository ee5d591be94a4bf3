"""Blocks that go together in any order, for modules at random."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

CHANNELS, SIZE = 8, 8


class _Lambda(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.function(x)
        return result


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        query, key, value = self.qkv(tokens).unflatten(-1, (3, 2, CHANNELS // 2)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).flatten(2).transpose(1, 2).view_as(x)


def _pick(x: torch.Tensor) -> torch.Tensor:
    best = x.flatten(2).topk(SIZE, dim=-1)
    return x * torch.sigmoid(best.values.mean(-1))[..., None, None]


# Each takes and gives [1, 8, 8, 8], so that they go together in any order.
BLOCKS: dict[str, Any] = {
    "conv": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
    "depthwise": lambda: nn.Conv2d(CHANNELS, CHANNELS, 5, padding=2, groups=CHANNELS),
    "dilated": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=2, dilation=2, padding_mode="replicate"),
    "down and up": lambda: nn.Sequential(
        nn.Conv2d(CHANNELS, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, CHANNELS, 3, 2, 1, output_padding=1)
    ),
    "batch norm": lambda: nn.BatchNorm2d(CHANNELS),
    "group norm": lambda: nn.GroupNorm(2, CHANNELS),
    "layer norm": lambda: nn.LayerNorm([CHANNELS, SIZE, SIZE]),
    "max pool": lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Upsample(scale_factor=2, mode="nearest")),
    "average pool": lambda: nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear")),
    "attention": _Attention,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hard swish": nn.Hardswish,
    "leaky relu": nn.LeakyReLU,
    "softmax": lambda: nn.Softmax(1),
    "pixel shuffle": lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.PixelShuffle(2)),
    "pad and slice": lambda: _Lambda(lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect")[:, :, 1:-2, 2:-1]),
    "flip": lambda: _Lambda(lambda x: torch.cat([x[:, :4].flip(2), x[:, 4:]], 1)),
    "gate": lambda: _Lambda(lambda x: x.chunk(2, 1)[0].repeat(1, 2, 1, 1) * torch.sigmoid(x)),
    "normalise": lambda: _Lambda(lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=1e-3)),
    "accumulate": lambda: _Lambda(lambda x: x.cumsum(-1) / 8),
    "where": lambda: _Lambda(lambda x: torch.where(x > 0.2, x, x.square() - 0.1)),
    "einsum": lambda: _Lambda(lambda x: torch.einsum("bchw,bcwk->bchk", x, x) / 4),
    "pick": lambda: _Lambda(_pick),
    "gather": lambda: _Lambda(lambda x: x[:, torch.tensor([3, 1, 0, 2, 7, 5, 6, 4])]),
    "variance": lambda: _Lambda(lambda x: (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True) + 0.1).sqrt()),
}
