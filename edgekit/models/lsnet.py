"""LSNet, "See Large, Focus Small" (2503.23135, CVPR 2025): large-kernel perception decides the weights of a small-kernel
aggregation at every position.

State-dict names are those of the published checkpoints. Facts: paper section 3 and table 1; THU-MIG/lsnet, model/lsnet.py.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from edgekit.models import Variant
from edgekit.ops.ska import ska

_PAPER = "arXiv 2503.23135, table 1"
_HEADS, _KEY_DIM = (3, 3, 3, 4), 16
_STEM_STRIDE, _STAGES = 8, 4
_KERNEL, _CHANNELS_PER_KERNEL = 3, 8


class ConvBN(nn.Sequential):
    """Convolution without bias, then BatchNorm; "same" padding for an odd kernel."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)


class BNLinear(nn.Sequential):
    """BatchNorm, then a linear classifier."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(inputs)
        self.l = nn.Linear(inputs, classes)


class Residual(nn.Module):
    def __init__(self, m: nn.Module) -> None:
        super().__init__()
        self.m = m

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.m(x)
        return out


class FFN(nn.Module):
    """1x1 expansion by two, ReLU, 1x1 back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pw1 = ConvBN(dim, 2 * dim)
        self.act = nn.ReLU()
        self.pw2 = ConvBN(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pw2(self.act(self.pw1(x)))
        return out


class RepVGGDW(nn.Module):
    """Depthwise 3x3 and 1x1 and identity side by side, which merge into one depthwise 3x3."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = ConvBN(dim, dim, 3, groups=dim)
        self.conv1 = ConvBN(dim, dim, 1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x) + self.conv1(x) + x
        return out


class SqueezeExcite(nn.Module):
    """Channel gates from the spatial mean, squeezed to a quarter."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, dim // 4, 1)
        self.fc2 = nn.Conv2d(dim // 4, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        gates = self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gates)


class LKP(nn.Module):
    """Large-kernel perception (section 3.2): the kernels of the aggregation, [B, C/8, 9, H, W]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        kernels = dim // _CHANNELS_PER_KERNEL
        self.cv1 = ConvBN(dim, dim // 2)
        self.act = nn.ReLU()
        self.cv2 = ConvBN(dim // 2, dim // 2, 7, groups=dim // 2)
        self.cv3 = ConvBN(dim // 2, dim // 2)
        self.cv4 = nn.Conv2d(dim // 2, _KERNEL**2 * kernels, 1)
        self.norm = nn.GroupNorm(kernels, _KERNEL**2 * kernels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.cv3(self.cv2(self.act(self.cv1(x)))))
        out: Tensor = self.norm(self.cv4(x)).unflatten(1, (-1, _KERNEL**2))
        return out


class LSConv(nn.Module):
    """Large-kernel perception, small-kernel aggregation (section 3.2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lkp = LKP(dim)
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(ska(x, self.lkp(x))) + x
        return out


class Attention(nn.Module):
    """LeViT-style attention over `resolution`^2 tokens, with a bias learned for every offset (|dx|, |dy|)."""

    attention_bias_idxs: Tensor

    def __init__(self, dim: int, heads: int, resolution: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, _KEY_DIM**-0.5
        # The published ratio is truncated: int(C / (16 heads) * 16) values a head.
        self.keys, self.values = heads * _KEY_DIM, heads * int(dim / (_KEY_DIM * heads) * _KEY_DIM)
        self.qkv = ConvBN(dim, 2 * self.keys + self.values)
        self.proj = nn.Sequential(nn.ReLU(), ConvBN(self.values, dim))
        self.dw = ConvBN(self.keys, self.keys, 3, groups=self.keys)
        points = list(itertools.product(range(resolution), repeat=2))
        offsets: dict[tuple[int, int], int] = {}
        table = [[offsets.setdefault((abs(p[0] - q[0]), abs(p[1] - q[1])), len(offsets)) for q in points] for p in points]
        self.attention_biases = nn.Parameter(torch.zeros(heads, len(offsets)))
        self.register_buffer("attention_bias_idxs", torch.tensor(table))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        q, k, v = self.qkv(x).split([self.keys, self.keys, self.values], dim=1)
        q, k, v = (t.reshape(batch, self.heads, -1, height * width) for t in (self.dw(q), k, v))
        scores = q.transpose(-2, -1) @ k * self.scale + self.attention_biases[:, self.attention_bias_idxs]
        x = (v @ scores.softmax(-1).transpose(-2, -1)).reshape(batch, -1, height, width)
        out: Tensor = self.proj(x)
        return out


class Block(nn.Module):
    """Even blocks mix with RepVGGDW and gate; odd ones with LSConv, or attention in the last stage. Then the FFN."""

    def __init__(self, dim: int, stage: int, depth: int, resolution: int) -> None:
        super().__init__()
        self.se: nn.Module = nn.Identity()
        self.mixer: nn.Module
        if depth % 2 == 0:
            self.mixer, self.se = RepVGGDW(dim), SqueezeExcite(dim)
        elif stage == _STAGES - 1:
            self.mixer = Residual(Attention(dim, _HEADS[stage], resolution))
        else:
            self.mixer = LSConv(dim)
        self.ffn = Residual(FFN(dim))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.ffn(self.se(self.mixer(x)))
        return out


class LSNet(nn.Module):
    """Images [B, 3, S, S] to logits [B, classes]; S a multiple of 32."""

    def __init__(
        self,
        dims: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        *,
        distillation: bool = False,
        input_size: int = 224,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        first = dims[0]
        self.patch_embed = nn.Sequential(
            ConvBN(3, first // 4, 3, 2), nn.ReLU(), ConvBN(first // 4, first // 2, 3, 2), nn.ReLU(),
            ConvBN(first // 2, first, 3, 2),
        )  # fmt: skip
        resolution = input_size // _STEM_STRIDE
        for stage, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            blocks = nn.Sequential()
            if stage:
                previous = dims[stage - 1]
                blocks.extend([ConvBN(previous, previous, 3, 2, groups=previous), ConvBN(previous, dim)])
                resolution = (resolution + 1) // 2
            blocks.extend([Block(dim, stage, index, resolution) for index in range(depth)])
            self.add_module(f"blocks{stage + 1}", blocks)
        self.head = BNLinear(dims[-1], classes)
        if distillation:
            self.head_dist = BNLinear(dims[-1], classes)
        self.distillation = distillation

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image)
        for stage in range(_STAGES):
            x = self.get_submodule(f"blocks{stage + 1}")(x)
        x = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        logits: Tensor = self.head(x)
        return (logits + self.head_dist(x)) / 2 if self.distillation else logits


def _variants() -> dict[str, Variant]:
    table = {
        "lsnet_t": ((64, 128, 256, 384), (0, 2, 8, 10), 11.4e6, 0.3e9, 74.9, 76.1),
        "lsnet_s": ((96, 192, 320, 448), (1, 2, 8, 10), 16.1e6, 0.5e9, 77.8, 79.0),
        "lsnet_b": ((128, 256, 384, 512), (4, 6, 8, 10), 23.2e6, 1.3e9, 80.3, 81.6),
    }
    found = {}
    for base, (dims, depths, params, macs, top1, distilled_top1) in table.items():
        for name, distillation, claim in ((base, False, top1), (f"{base}_distill", True, distilled_top1)):
            found[name] = Variant(
                name=name,
                arguments={"dims": dims, "depths": depths, "distillation": distillation},
                input_shape=(1, 3, 224, 224),
                input_sizes=range(64, 513, 32),
                published_params=params,
                published_macs=macs,
                published_top1=claim,
                source=_PAPER,
            )
    return found


VARIANTS = _variants()


def build(variant: Variant) -> LSNet:
    """The module of `variant`, its attention biases sized for the variant's input."""
    return LSNet(**variant.arguments, input_size=variant.input_shape[-1])
