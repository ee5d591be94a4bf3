"""AFFNet, "Adaptive Frequency Filters As Efficient Global Token Mixers" (2307.14008, ICCV 2023): tokens mix by a filter in
the frequency domain that is computed from the spectrum it filters: a convolution as large as the feature map.

State-dict names are those of the published checkpoints. Facts: microsoft/TokenMixers, Adaptive Frequency Filters:
affnet/models/classification/affnet.py with its config, affnet/modules/aff_block.py.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from edgekit.artifact import Preprocessing
from edgekit.models import Variant

_SOURCE = "AFFNet README (microsoft/TokenMixers), ImageNet-1K table"
_STEM, _DEPTHS, _LAST_RATIO, _LAST_MOST = 16, (2, 4, 3), 4, 960
_MLP_RATIO = 2
_FILTER_BLOCKS, _FILTER_INIT, _SHRINK = 8, 0.02, 0.01

# Scaled to 0..1 and no more. The crop is the published code's default; the released configurations are not in the repository.
_PREPROCESSING = Preprocessing(crop_fraction=0.875, interpolation="bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _named(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))


class ConvLayer(nn.Module):
    """Convolution without bias, BatchNorm, and SiLU where `act`; "same" padding for an odd kernel."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, act: bool = True
    ) -> None:
        super().__init__()
        self.block = _named(
            conv=nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            norm=nn.BatchNorm2d(outputs),
            act=nn.SiLU() if act else nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class InvertedResidual(nn.Module):
    """MobileNetV2's: 1x1 expansion, depthwise 3x3, 1x1 back; residual where the shape stays."""

    def __init__(self, inputs: int, outputs: int, ratio: int, stride: int = 1) -> None:
        super().__init__()
        hidden = ratio * inputs
        self.block = _named(
            exp_1x1=ConvLayer(inputs, hidden),
            conv_3x3=ConvLayer(hidden, hidden, 3, stride, groups=hidden),
            red_1x1=ConvLayer(hidden, outputs, act=False),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return x + out if self.residual else out


class FrequencyFilter(nn.Module):
    """The AFF token mixer, [B, C, H, W] to the same: the spectrum times a mask that two complex layers make of it, plus x.

    The layers act on each frequency alone and are block-diagonal over the channels, eight blocks; their weights hold the
    real and the imaginary part along the first dimension. Soft shrinkage sets small parts of the mask to zero.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        size = dim // _FILTER_BLOCKS
        self.w1 = nn.Parameter(_FILTER_INIT * torch.randn(2, _FILTER_BLOCKS, size, size))
        self.b1 = nn.Parameter(_FILTER_INIT * torch.randn(2, _FILTER_BLOCKS, size))
        self.w2 = nn.Parameter(_FILTER_INIT * torch.randn(2, _FILTER_BLOCKS, size, size))
        self.b2 = nn.Parameter(_FILTER_INIT * torch.randn(2, _FILTER_BLOCKS, size))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x, norm="ortho")  # [B, C, H, W/2 + 1], complex
        blocks = spectrum.unflatten(1, (_FILTER_BLOCKS, -1))
        real, imag = _complex_linear(blocks.real, blocks.imag, self.w1, self.b1)
        real, imag = _complex_linear(nn.functional.silu(real), nn.functional.silu(imag), self.w2, self.b2)
        mask = torch.view_as_complex(nn.functional.softshrink(torch.stack([real, imag], dim=-1), _SHRINK))
        mixed: Tensor = torch.fft.irfft2(spectrum * mask.flatten(1, 2), s=x.shape[-2:], norm="ortho")
        return mixed + x


def _complex_linear(real: Tensor, imag: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """One complex layer a channel block: parts [B, K, I, H, W] by weight [2, K, I, O] plus bias [2, K, O]."""

    def times(x: Tensor, w: Tensor) -> Tensor:
        return torch.einsum("bkihw,kio->bkohw", x, w)

    b = bias[..., None, None]
    return (
        times(real, weight[0]) - times(imag, weight[1]) + b[0],
        times(imag, weight[0]) + times(real, weight[1]) + b[1],
    )


class Block(nn.Module):
    """Channels, then tokens: inverted residual and frequency filter, each behind a norm over [C, H, W], in one residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(1, dim)
        self.filter = FrequencyFilter(dim)
        self.norm2 = nn.GroupNorm(1, dim)
        self.mlp = InvertedResidual(dim, dim, _MLP_RATIO)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.filter(self.norm2(self.mlp(self.norm1(x))))
        return out


class GlobalStage(nn.Module):
    """`depth` blocks and a norm, projected, then fused with what came in."""

    def __init__(self, dim: int, depth: int) -> None:
        super().__init__()
        self.global_rep = nn.Sequential(*(Block(dim) for _ in range(depth)), nn.GroupNorm(1, dim))
        self.conv_proj = ConvLayer(dim, dim, act=False)
        self.fusion = ConvLayer(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fusion(torch.cat([x, self.conv_proj(self.global_rep(x))], dim=1))
        return out


class AFFNet(nn.Module):
    """Images [B, 3, H, W] to logits [B, classes]; H and W multiples of 32, so that every stride halves exactly.

    Two stages of inverted residuals down to H/4, three with frequency filters at H/8, H/16 and H/32.
    """

    def __init__(self, dims: tuple[int, int, int, int, int], ratio: int, *, classes: int = 1000) -> None:
        super().__init__()
        self.conv_1 = ConvLayer(3, _STEM, 3, 2)
        self.layer_1 = nn.Sequential(InvertedResidual(_STEM, dims[0], ratio))
        self.layer_2 = nn.Sequential(
            InvertedResidual(dims[0], dims[1], ratio, stride=2),
            InvertedResidual(dims[1], dims[1], ratio),
            InvertedResidual(dims[1], dims[1], ratio),
        )
        self.layer_3, self.layer_4, self.layer_5 = (
            nn.Sequential(InvertedResidual(inputs, dim, ratio, stride=2), GlobalStage(dim, depth))
            for inputs, dim, depth in zip(dims[1:], dims[2:], _DEPTHS, strict=False)
        )
        last = min(_LAST_RATIO * dims[-1], _LAST_MOST)
        self.conv_1x1_exp = ConvLayer(dims[-1], last)
        self.classifier = _named(fc=nn.Linear(last, classes))

    def forward(self, image: Tensor) -> Tensor:
        x = self.layer_2(self.layer_1(self.conv_1(image)))
        x = self.layer_5(self.layer_4(self.layer_3(x)))
        logits: Tensor = self.classifier(self.conv_1x1_exp(x).mean((2, 3)))
        return logits


def _variants() -> dict[str, Variant]:
    table = {
        "affnet_et": ((32, 48, 64, 104, 144), 2, 1.4e6, 0.4e9, 73.0),
        "affnet_t": ((32, 48, 96, 160, 192), 4, 2.6e6, 0.8e9, 77.0),
        "affnet_b": ((32, 64, 128, 256, 320), 4, 5.5e6, 1.5e9, 79.8),
    }
    return {
        name: Variant(
            name=name,
            arguments={"dims": dims, "ratio": ratio},
            input_shape=(1, 3, 256, 256),
            input_sizes=range(64, 513, 32),
            published_params=params,
            published_macs=macs,
            published_top1=top1,
            source=_SOURCE,
            preprocessing=_PREPROCESSING,
        )
        for name, (dims, ratio, params, macs, top1) in table.items()
    }


VARIANTS = _variants()


def build(variant: Variant) -> AFFNet:
    """The module of `variant`."""
    return AFFNet(**variant.arguments)
