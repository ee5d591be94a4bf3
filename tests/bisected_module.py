"""A small model with one of each thing that a conversion can get wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Stem(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, dim, 3, stride=2, padding=1)
        self.act = nn.LeakyReLU(0.1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.act(self.conv(x)))


class Axes(nn.Module):
    """Mixes rows with columns, and raises and lowers what it is given."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.norm(x.sin().transpose(2, 3))
        rows = x.mean(3)
        return x * rows[..., None].sigmoid() + (x * 4).relu() * 0.25


class Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-1, -2) * 3.0).softmax(-1)
        return x + self.out((scores @ v).transpose(1, 2).flatten(2))


class Mixer(nn.Module):
    def __init__(self, dim: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.stem = Stem(dim)
        self.axes = Axes(dim)
        self.blocks = nn.ModuleList([Attention(dim)])
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.axes(self.stem(x)).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = tokens + self.mlp(tokens)
        steps = tokens[:, 1:] - tokens[:, :-1]
        return self.head(nn.functional.silu(steps).mean(1))


def build() -> tuple[nn.Module, dict[str, Tensor]]:
    torch.manual_seed(0)
    return Mixer(), {"x": torch.randn(1, 3, 16, 16)}
