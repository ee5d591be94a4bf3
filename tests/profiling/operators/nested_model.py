"""A model whose modules and multiply-adds are known."""

from __future__ import annotations

NESTED = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 3, padding=1)
        self.act = nn.GELU()

    def forward(self, x):
        return x + self.act(self.conv(x))


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Block(), Block())
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


def build():
    torch.manual_seed(0)
    return Nested().eval()
"""
STEM, BLOCK, FC = 16 * 16 * 16 * 27, 16 * 16 * 16 * 144, 160
"""Multiply-adds for an input of 1x3x32x32."""
