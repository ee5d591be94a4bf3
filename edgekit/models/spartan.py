"""SpaRTAN (2507.10999, IJCNN 2025): a spatial mixer of two receptive fields, and a channel mixer in which channels are waves:
each interferes with its pixel's strongest, and pairs of channels turn as one complex number.

State-dict names are those of the published checkpoint. Facts: henry-pay/SpaRTAN, src/model/spartan.py and src/config.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from edgekit.artifact import Preprocessing
from edgekit.models import Variant

_SOURCE = "arXiv 2507.10999, abstract"
_EPS, _SCALE_INIT = 1e-6, 1e-5
_EARLY_STAGES = 2

_PREPROCESSING = Preprocessing(
    crop_fraction=1.0, interpolation="bilinear", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


class ConvNormAct(nn.Sequential):
    """Convolution without bias, BatchNorm, activation; the defaults keep H and W."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1, dilation: int = 1,
        groups: int = 1, act: type[nn.Module] = nn.GELU,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=_EPS)
        self.act = act()


class SqueezeExcite(nn.Module):
    """Channel gates from the spatial mean."""

    def __init__(self, dim: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(dim, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        gates = self.expand(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gates)


class SpatialMixer(nn.Module):
    """On half the channels, what differs from the spatial mean is amplified by `gamma`; then a 3x3 (`h`, high frequencies)
    and two 3x3 dilated by two (`l`, low), side by side, each gated. Dense in the early stages, depthwise in the later."""

    def __init__(self, dim: int, *, early: bool) -> None:
        super().__init__()
        half = dim // 2
        groups = 1 if early else half
        self.gamma = nn.Parameter(torch.full((1, half, 1, 1), _SCALE_INIT))
        self.proj_in = nn.Conv2d(dim, half, 1)
        self.h_conv = ConvNormAct(half, half, groups=groups)
        self.l_conv = nn.Sequential(
            nn.Sequential(OrderedDict(conv=nn.Conv2d(half, half, 3, 1, 2, 2, groups, bias=False))),
            ConvNormAct(half, half, padding=2, dilation=2, groups=groups),
        )
        self.h_attn = SqueezeExcite(half, half // 4)
        self.l_attn = SqueezeExcite(half, half // 4)
        self.proj_out = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj_in(x)
        x = x + self.gamma * (x - x.mean((2, 3), keepdim=True))
        x = torch.cat([self.h_attn(self.h_conv(x)), self.l_attn(self.l_conv(x))], dim=1)
        out: Tensor = self.proj_out(x)
        return out


class ChannelMixer(nn.Module):
    """Waves of `theta` weighed by `proj`, [B, ratio C, H, W]: each is added to the one in the place of its pixel's strongest
    input channel, then even and odd channels, as real and imaginary part, are multiplied by a learned complex number.

    The 3x3 behind it is depthwise in the early stages, and mixes `ratio` channels a group in the later.
    """

    def __init__(self, dim: int, ratio: int, *, early: bool) -> None:
        super().__init__()
        hidden = ratio * dim
        self.complex = nn.Parameter(torch.randn(1, 1, 1, hidden // 2, 2))
        self.theta = nn.Conv2d(dim, hidden, 1)
        self.proj = nn.Conv2d(dim, hidden, 1)
        self.conv = ConvNormAct(hidden, hidden, groups=hidden if early else dim)
        self.attn = SqueezeExcite(hidden, dim // 4)
        self.proj_out = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        strongest = x.argmax(1, keepdim=True)
        theta, weight = nn.functional.gelu(self.theta(x)), self.proj(x)
        waves = weight * theta + weight.gather(1, strongest) * theta.gather(1, strongest)
        pairs = waves.permute(0, 2, 3, 1).unflatten(-1, (-1, 2)).contiguous()  # [B, H, W, ratio C / 2, 2]
        turned = torch.view_as_complex(pairs) * torch.view_as_complex(self.complex)
        x = torch.view_as_real(turned).flatten(-2).permute(0, 3, 1, 2).contiguous()
        out: Tensor = self.proj_out(self.attn(self.conv(x)))
        return out


class Block(nn.Module):
    """Spatial mixer, then channel mixer, each behind a norm over [C, H, W] and in a residual scaled by channel."""

    def __init__(self, dim: int, ratio: int, *, early: bool) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(1, dim, eps=_EPS)
        self.smixer = SpatialMixer(dim, early=early)
        self.scale_1 = nn.Parameter(torch.full((1, dim, 1, 1), _SCALE_INIT))
        self.norm_2 = nn.GroupNorm(1, dim, eps=_EPS)
        self.cmixer = ChannelMixer(dim, ratio, early=early)
        self.scale_2 = nn.Parameter(torch.full((1, dim, 1, 1), _SCALE_INIT))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale_1 * self.smixer(self.norm_1(x))
        out: Tensor = x + self.scale_2 * self.cmixer(self.norm_2(x))
        return out


class SpaRTAN(nn.Module):
    """Images [B, 3, H, W] to logits [B, classes]; stages at H/4 to H/32.

    H and W are multiples of 32: the 2x2 convolutions at stride 2 between the stages do not see an odd map's last row.
    """

    def __init__(
        self,
        dims: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        ratios: tuple[int, int, int, int],
        *,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.conv = nn.Sequential(ConvNormAct(3, dims[0] // 2, stride=2), ConvNormAct(dims[0] // 2, dims[0], stride=2))
        self.layers = nn.Sequential()
        for stage, (dim, depth, ratio) in enumerate(zip(dims, depths, ratios, strict=True)):
            if stage:
                self.layers.append(ConvNormAct(dims[stage - 1], dim, kernel=2, stride=2, padding=0, act=nn.SiLU))
            self.layers.extend([Block(dim, ratio, early=stage < _EARLY_STAGES) for _ in range(depth)])
        self.linear = nn.Linear(dims[-1], classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.layers(self.conv(image))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


VARIANTS = {
    "spartan_s": Variant(
        name="spartan_s",
        arguments={"dims": (32, 64, 128, 256), "depths": (3, 3, 12, 2), "ratios": (4, 4, 2, 2)},
        input_shape=(1, 3, 256, 256),
        input_sizes=range(64, 513, 32),
        published_params=3.8e6,
        published_macs=1.0e9,
        published_top1=77.7,
        source=_SOURCE,
        preprocessing=_PREPROCESSING,
    ),
}


def build(variant: Variant) -> SpaRTAN:
    """The module of `variant`."""
    return SpaRTAN(**variant.arguments)
