"""CAS-ViT (2408.03703): additive self-attention made of convolutions. Spatial and channel gates on query and key, whose sum
weighs the value: no product of matrices, no softmax, cost linear in the pixels.

State-dict names are those of the published checkpoints. Facts: Tianfang-Zhang/CAS-ViT, classification/model/rcvit.py.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgekit.artifact import Preprocessing
from edgekit.models import Variant

_ZOO = "CAS-ViT MODEL_ZOO.md, first checkpoint"
_MLP_RATIO = 4

# At 384 pixels and above the published code squeezes the whole photograph into the square instead.
_PREPROCESSING = Preprocessing(
    crop_fraction=0.875, interpolation="bicubic", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


def _depthwise(dim: int) -> nn.Conv2d:
    return nn.Conv2d(dim, dim, 3, padding=1, groups=dim)


class SpatialGate(nn.Module):
    """x times one gate a pixel, [B, 1, H, W], seen through a 3x3 window."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            _depthwise(dim), nn.BatchNorm2d(dim), nn.ReLU(), nn.Conv2d(dim, 1, 1, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.block(x)
        return out


class ChannelGate(nn.Module):
    """x times one gate a channel, [B, C, 1, 1], from the spatial mean."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, dim, 1, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.block(x)
        return out


class TokenMixer(nn.Module):
    """The paper's CATM, [B, C, H, W] to the same: gated query plus gated key is the context that weighs the value."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.oper_q = nn.Sequential(SpatialGate(dim), ChannelGate(dim))
        self.oper_k = nn.Sequential(SpatialGate(dim), ChannelGate(dim))
        self.dwc = _depthwise(dim)
        self.proj = _depthwise(dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=1)
        out: Tensor = self.proj(self.dwc(self.oper_q(q) + self.oper_k(k)) * v)
        return out


class LocalPerception(nn.Sequential):
    """The block's integration subnet: 1x1, BatchNorm, depthwise 3x3, GELU, 1x1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim), _depthwise(dim), nn.GELU(), nn.Conv2d(dim, dim, 1)
        )


class MLP(nn.Sequential):
    """1x1 expansion by four, GELU, 1x1 back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, _MLP_RATIO * dim, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(_MLP_RATIO * dim, dim, 1)


class Block(nn.Module):
    """Local perception, token mixer and MLP, each residual; BatchNorm before the last two."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.local_perception = LocalPerception(dim)
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = TokenMixer(dim)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = MLP(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.local_perception(x)
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Downsample(nn.Sequential):
    """Between two stages: 3x3 at stride 2, then BatchNorm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, outputs, 3, 2, 1)
        self.norm = nn.BatchNorm2d(outputs)


class CASViT(nn.Module):
    """Images [B, 3, H, W] to logits [B, classes], the mean of a classification and a distillation head.

    With `features` there is no head: detectors and segmenters get the four stages' maps, each behind a BatchNorm of its
    own, [B, dims[i], H/4, W/4] to H/32, W/32. H and W are multiples of 32, so that every stride halves exactly.
    """

    def __init__(
        self,
        dims: tuple[int, int, int, int],
        depths: tuple[int, int, int, int],
        *,
        features: bool = False,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        half = dims[0] // 2
        self.patch_embed = nn.Sequential(
            nn.Conv2d(3, half, 3, 2, 1), nn.BatchNorm2d(half), nn.ReLU(),
            nn.Conv2d(half, dims[0], 3, 2, 1), nn.BatchNorm2d(dims[0]), nn.ReLU(),
        )  # fmt: skip
        self.network = nn.ModuleList()
        for stage, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            if stage:
                self.network.append(Downsample(dims[stage - 1], dim))
            self.network.append(nn.Sequential(*(Block(dim) for _ in range(depth))))
        self.features = features
        if features:
            for stage, dim in enumerate(dims):
                self.add_module(f"norm{2 * stage}", nn.BatchNorm2d(dim))  # named for the stage's place in `network`
        else:
            self.norm = nn.BatchNorm2d(dims[-1])
            self.head = nn.Linear(dims[-1], classes)
            self.dist_head = nn.Linear(dims[-1], classes)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = self.patch_embed(image)
        maps: list[Tensor] = []
        for index, part in enumerate(self.network):
            x = part(x)
            if self.features and index % 2 == 0:
                maps.append(self.get_submodule(f"norm{index}")(x))
        if self.features:
            return tuple(maps)
        x = self.norm(x).mean((2, 3))
        logits: Tensor = (self.head(x) + self.dist_head(x)) / 2
        return logits


def _variants() -> dict[str, Variant]:
    quoted = "MACs as iFormer quotes them"
    table = {
        "casvit_xs": ((48, 56, 112, 220), (2, 2, 4, 2), 3.20e6, 0.56e9, 78.3, quoted),
        "casvit_s": ((48, 64, 128, 256), (3, 3, 6, 3), 5.76e6, 0.93e9, 80.9, quoted),
        "casvit_m": ((64, 96, 192, 384), (3, 3, 6, 3), 12.42e6, 1.89e9, 82.8, quoted),
        "casvit_t": ((96, 128, 256, 512), (3, 3, 6, 3), 21.76e6, None, 83.9, "no MACs given"),
    }
    return {
        name: Variant(
            name=name,
            arguments={"dims": dims, "depths": depths},
            input_shape=(1, 3, 224, 224),
            input_sizes=range(64, 513, 32),
            published_params=params,
            published_macs=macs,
            published_top1=top1,
            source=f"{_ZOO}; {macs_source}",
            preprocessing=_PREPROCESSING,
        )
        for name, (dims, depths, params, macs, top1, macs_source) in table.items()
    }


VARIANTS = _variants()


def build(variant: Variant) -> CASViT:
    """The module of `variant`."""
    return CASViT(**variant.arguments)
