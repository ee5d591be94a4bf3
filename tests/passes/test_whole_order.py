"""Random modules, built from what the shipped families and models like them are made of, keep their outputs through the whole
order of passes, whatever the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import Net, assert_same, noise, randomise
from torch import Tensor, nn
from windows import WindowAttention

import edgekit.ops.ska  # noqa: F401 - registers the operator
from edgekit import passes, profiles
from edgekit.profiles import RuntimeProfile
from edgekit.program import Program, capture

pytestmark = pytest.mark.slow

C = 8
Choose = Callable[[Sequence[Any]], Any]
"""Takes one of several options."""


def _distinct_profiles() -> list[RuntimeProfile]:
    """What the shipped devices accept, each combination once."""
    found = [runtime for name in profiles.names() for runtime in profiles.load(name).runtimes.values()]
    found += [r.model_validate({**r.model_dump(), **r.integers.instead}) for r in found if r.integers is not None]
    return list({r.model_copy(update={"source": "", "integers": None}).model_dump_json(): r for r in found}.values())


PROFILES = _distinct_profiles()


class Convolutions(nn.Module):
    """Padded, depthwise, behind and in front of BatchNorm; parallel ones and an identity, with a layer scale."""

    def __init__(self, choose: Choose) -> None:
        super().__init__()
        groups = choose([1, 2, C])
        self.before = nn.BatchNorm2d(C) if choose([False, True]) else nn.Identity()
        self.wide = nn.Sequential(nn.Conv2d(C, C, 3, padding=1, groups=groups, bias=False), nn.BatchNorm2d(C))
        self.point = nn.Conv2d(C, C, 1, groups=groups) if choose([False, True]) else None
        self.act = choose([nn.ReLU(inplace=True), nn.GELU(), nn.SiLU(), nn.Softshrink(0.3), nn.Hardswish()])
        self.scale = nn.Parameter(torch.zeros(C, 1, 1))
        self.identity = choose([False, True])

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        y = self.wide(x)
        if self.point is not None:
            y = y + self.point(x)
        if self.identity:
            y = y + x
        return self.act(y * self.scale)


class Projections(nn.Module):
    """One convolution split into three, gated by the mean, as squeeze-and-excite and additive attention do."""

    def __init__(self, choose: Choose) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(C, 3 * C, 1, bias=False)
        self.norm = choose([nn.GroupNorm(1, C), nn.GroupNorm(4, C), nn.BatchNorm2d(C)])
        self.gate = nn.Conv2d(C, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, 1)
        return v * torch.sigmoid(self.gate((q + k).mean((2, 3), keepdim=True))) + x


class Frequencies(nn.Module):
    """A global filter: learned, or computed from the spectrum by block-diagonal einsums and shrunk (AFFNet)."""

    def __init__(self, choose: Choose) -> None:
        super().__init__()
        self.norm = choose(["ortho", "backward", "forward"])
        self.adaptive = choose([False, True])
        self.learned = nn.Parameter(torch.zeros(C, 1, 1, 2))
        self.blocks = nn.Parameter(torch.zeros(2, 2, C // 2, C // 2))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x, norm=self.norm)
        if self.adaptive:
            apart = spectrum.unflatten(1, (2, C // 2))
            real, imag = (
                torch.einsum("bkihw,kio->bkohw", part, weight)
                for part, weight in zip((apart.real, apart.imag), self.blocks, strict=True)
            )
            mask = torch.view_as_complex(F.softshrink(torch.stack([real.relu(), imag], -1), 0.01)).flatten(1, 2)
        else:
            mask = torch.view_as_complex(self.learned)
        return torch.fft.irfft2(spectrum * mask, s=x.shape[-2:], norm=self.norm) + x


class ComplexChannels(nn.Module):
    """Pairs of channels multiplied as complex numbers (SpaRTAN)."""

    def __init__(self, choose: Choose) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(C // 2, 2))
        self.conv = nn.Conv2d(C, C, 3, padding=1, groups=choose([1, C // 2]))

    def forward(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.permute(0, 2, 3, 1).reshape(x.shape[0], *x.shape[2:], C // 2, 2).contiguous())
        turned = torch.view_as_real(pairs * torch.view_as_complex(self.weight)).flatten(3).permute(0, 3, 1, 2)
        return self.conv(turned.contiguous())


class Chosen(nn.Module):
    """What stands at the strongest channel, gathered by its place."""

    def __init__(self, choose: Choose) -> None:
        super().__init__()
        self.scores = nn.Conv2d(C, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        place = self.scores(x).argmax(1, keepdim=True)
        return x + x.gather(1, place)


class BiasedAttention(nn.Module):
    """Attention over positions with a table of biases read by distance (LeViT, LSNet)."""

    def __init__(self, choose: Choose, height: int, width: int) -> None:
        super().__init__()
        self.heads = choose([1, 2])
        self.qkv = nn.Sequential(nn.Conv2d(C, 3 * C, 1, bias=False), nn.BatchNorm2d(3 * C))
        self.fused = choose([False, True])
        places = torch.cartesian_prod(torch.arange(height), torch.arange(width))
        apart = (places[:, None] - places[None]).abs()
        self.register_buffer("index", apart[..., 0] * width + apart[..., 1])
        self.table = nn.Parameter(torch.zeros(self.heads, height * width))

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        q, k, v = self.qkv(x).reshape(b, 3 * self.heads, C // self.heads, h * w).transpose(2, 3).chunk(3, 1)
        bias = self.table[:, self.index]
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, bias)
        else:
            y = ((q * (C // self.heads) ** -0.5) @ k.transpose(-2, -1) + bias).softmax(-1) @ v
        return x + y.transpose(2, 3).reshape(b, C, h, w)


class SmallKernels(nn.Module):
    """LSNet's aggregation with kernels computed from the image."""

    def __init__(self, choose: Choose) -> None:
        super().__init__()
        self.groups = choose([1, 2, C])
        self.kernels = nn.Sequential(nn.Conv2d(C, 9 * self.groups, 1), nn.GroupNorm(self.groups, 9 * self.groups))

    def forward(self, x: Tensor) -> Tensor:
        kernels = self.kernels(x).view(x.shape[0], self.groups, 9, *x.shape[2:])
        return torch.ops.edgekit.ska(x, kernels) + x


class ChannelsLast(nn.Module):
    """LayerNorm and an MLP on the last axis, as transformers have them; windows too where they fit."""

    def __init__(self, choose: Choose, height: int, width: int) -> None:
        super().__init__()
        fits = height % 2 == width % 2 == 0
        self.attend = WindowAttention(C) if fits and choose([False, True]) else nn.Identity()
        self.flat = choose([False, True])
        self.mlp = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, 2 * C), nn.GELU(), nn.Dropout(), nn.Linear(2 * C, C))

    def forward(self, x: Tensor) -> Tensor:
        y = self.attend(x.permute(0, 2, 3, 1))
        if not self.flat:
            return (y + self.mlp(y)).permute(0, 3, 1, 2)
        y = y.flatten(1, 2)
        return (y + self.mlp(y)).transpose(1, 2).reshape(x.shape)


BLOCKS: dict[str, Callable[[Choose, int, int], nn.Module]] = {
    "convolutions": lambda choose, h, w: Convolutions(choose),
    "projections": lambda choose, h, w: Projections(choose),
    "frequencies": lambda choose, h, w: Frequencies(choose),
    "complex channels": lambda choose, h, w: ComplexChannels(choose),
    "chosen": lambda choose, h, w: Chosen(choose),
    "attention": BiasedAttention,
    "small kernels": lambda choose, h, w: SmallKernels(choose),
    "channels last": ChannelsLast,
}


def _network(choose: Choose, kinds: list[str], height: int, width: int) -> nn.Module:
    blocks = nn.Sequential(*(BLOCKS[kind](choose, height, width) for kind in kinds))

    def forward(net: Net, x: Tensor) -> dict[str, Tensor]:
        x = net.blocks(x)
        pooled = net.norm(x.mean((2, 3)))
        return {"features": x, "scores": (net.head(pooled) + net.head_dist(pooled)) / 2}

    net = Net(forward, blocks=blocks, norm=nn.BatchNorm1d(C), head=nn.Linear(C, 5), head_dist=nn.Linear(C, 5))
    randomise(net, choose(range(100)))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= 0.4  # so that no softmax or rectifier saturates
    return net


def _assert_kept(net: nn.Module, x: Tensor) -> None:
    """The passes keep the outputs under every profile, one by one and together, and what they refuse has its reason."""
    captured = capture(net, {"x": x})
    for profile in PROFILES:
        program = captured.copy()
        done = passes.run(program, profile, check=True)
        assert_same(program, net, x)
        assert_same(program, net, x * -0.7 + 0.3)
        refusals = {changes.name: changes.refusals for changes in done}
        assert all(refusal.node and refusal.reason for found in refusals.values() for refusal in found)
        assert refusals["complex_to_real"] or profile.complex_numbers or not any(t.is_complex() for t in _tensors(program))
        limit = profile.max_rank
        assert refusals["limit_rank"] or limit is None or max(t.dim() for t in _tensors(program)) <= limit


def _tensors(program: Program) -> list[Tensor]:
    made = [node.meta.get("val") for graph_module in program for node in graph_module.graph.nodes]
    return [t for found in made for t in (found if isinstance(found, (list, tuple)) else [found]) if isinstance(t, Tensor)]


def test_profiles_differ() -> None:
    assert len(PROFILES) >= 3


@pytest.mark.parametrize("kind", BLOCKS)
def test_each_block_keeps_its_outputs(kind: str) -> None:
    _assert_kept(_network(lambda options: options[-1], [kind], 4, 6), noise(1, C, 4, 6))


@settings(max_examples=10)
@given(st.data())
def test_random_networks_keep_their_outputs(data: st.DataObject) -> None:
    choose = lambda options: data.draw(st.sampled_from(options))  # noqa: E731
    kinds = [choose(sorted(BLOCKS)) for _ in range(choose([2, 3, 4]))]
    height, width = choose([(4, 4), (5, 5), (4, 6), (7, 3)])
    _assert_kept(_network(choose, kinds, height, width), noise(choose([1, 2]), C, height, width))
