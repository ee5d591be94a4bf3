"""A block whose window partition permutes six axes, for the tests of passes and targets."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WindowAttention(nn.Module):
    """Attention in shifted windows, as Swin writes it (2103.14030), on [B, H, W, C]."""

    def __init__(self, channels: int = 8, window: int = 2, heads: int = 2, shift: int = 1) -> None:
        super().__init__()
        self.window, self.heads, self.shift = window, heads, shift
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.zeros(heads, window**2, window**2))

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        n = self.window
        y = torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2))
        y = y.view(b, h // n, n, w // n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, n * n, c)
        qkv = self.qkv(y).reshape(-1, n * n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = (q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1) + self.bias
        y = self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, n * n, c))
        y = y.view(b, h // n, w // n, n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        return x + torch.roll(y, (self.shift, self.shift), (1, 2))
