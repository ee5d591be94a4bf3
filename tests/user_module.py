"""What a researcher might write: a mixer with every ingredient that edgekit's rewrites are for."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FilterMixer(nn.Module):
    """A global filter: a product in the frequency domain."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, side, side // 2 + 1, 2) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x, norm="ortho") * torch.view_as_complex(self.weight)
        return torch.fft.irfft2(spectrum, s=x.shape[-2:], norm="ortho")


class Rotary(nn.Module):
    """Positions as turns of complex numbers."""

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(tokens), 100.0 ** (-torch.arange(dim // 2) / (dim // 2)))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * self.turns
        return torch.view_as_real(turned).flatten(-2)


class Attention(nn.Module):
    """Attention by einsum, with a table of biases by relative position, read through a buffer of indices."""

    def __init__(self, dim: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.rotary = Rotary(side * side, dim // heads)
        self.table = nn.Parameter(torch.randn(heads, (2 * side - 1) ** 2))
        at = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        apart = at[:, :, None] - at[:, None] + side - 1
        self.register_buffer("index", apart[0] * (2 * side - 1) + apart[1])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        q, k = (self.rotary(t.transpose(1, 2)) for t in (q, k))
        scores = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5 + self.table[:, self.index]
        scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
        return self.out(torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v).flatten(2))


class Everything(nn.Module):
    """An image, a task and a mask by keyword in; a dictionary with a nested tuple, whole numbers, truth values, a number, a
    None and an input out."""

    def __init__(self, dim: int = 16, side: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dim, 4, 4), nn.BatchNorm2d(dim), nn.GELU())
        self.filter = FilterMixer(dim, side)
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, 2, side)
        self.embed = nn.Embedding(classes, dim)
        self.score = nn.Linear(dim, 1)
        self.head = nn.Linear(dim, classes)

    def forward(self, image: Tensor, task: Tensor, *, mask: Tensor, temperature: float = 2.0) -> dict[str, object]:
        x = self.stem(image)
        x = x + self.filter(x)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(self.norm(tokens), mask) + self.embed(task)[:, None]
        best = self.score(tokens).argmax(dim=1, keepdim=True)
        chosen = torch.gather(tokens, 1, best.expand(-1, -1, tokens.shape[-1]))
        logits = self.head(tokens.mean(1) + chosen[:, 0]) / temperature
        return {
            "logits": logits,
            "loss": None,
            "features": (x, [tokens, chosen]),
            "label": logits.argmax(-1),
            "sure": logits.softmax(-1).amax(-1) > 0.5,
            "scale": tokens.abs().mean(),
            "image": image,
        }


def build() -> tuple[nn.Module, dict[str, Tensor]]:
    """The module, and example inputs for it."""
    torch.manual_seed(0)
    inputs = {"image": torch.randn(1, 3, 32, 32), "task": torch.tensor([3]), "mask": torch.arange(64)[None] < 50}
    return Everything(), inputs


def mixer() -> nn.Module:
    """A module alone: its input's shape is the command line's to give."""
    torch.manual_seed(0)
    return FilterMixer(4, 7)
