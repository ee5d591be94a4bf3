"""A small vision transformer as PyTorch code writes it: tokens channels-last between convolutions, for the tests of passes and
targets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Attention and an MLP on [B, N, C], each behind a LayerNorm; `fused` calls PyTorch's own attention."""

    def __init__(self, channels: int, heads: int, *, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels, bias=False)
        self.qkv, self.proj = nn.Linear(channels, 3 * channels, bias=False), nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x + self.proj(y.transpose(1, 2).reshape(b, n, c))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches of 4x4 of a 16x16 image, two blocks, and a convolution on the map they are put back to."""

    def __init__(self, channels: int = 16, heads: int = 2, *, fused: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 4, 4)
        self.position = nn.Parameter(torch.zeros(1, 16, channels))
        self.blocks = nn.Sequential(*(Block(channels, heads, fused=fused) for _ in range(2)))
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.stem(x)
        tokens = self.blocks(y.flatten(2).transpose(1, 2) + self.position)
        return {"map": self.out(tokens.transpose(1, 2).reshape(y.shape)), "pooled": tokens.mean(1)}
