"""Convolution and its transpose, over one to three spatial axes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from edgekit.runtimes.coreml_reference.ops import _windows

_CONV = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
_CONV_TRANSPOSE = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Tensor:
    ones = [1] * (x.ndim - 2)
    strides, dilations = strides or ones, dilations or ones
    pads = _windows.pads(pad_type, pad, list(x.shape[2:]), list(weight.shape[2:]), strides, dilations)
    if all(before == after for before, after in pads):
        return _CONV[x.ndim](x, weight, bias, strides, [before for before, _ in pads], dilations, groups)
    return _CONV[x.ndim](_windows.padded(x, pads), weight, bias, strides, 0, dilations, groups)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: list[int] | None = None,
    output_shape: list[int] | None = None,
    pad_type: str = "valid",
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """The whole transpose, cropped by the padding; where `output_shape` reaches beyond it, nothing but the bias is there."""
    ones = [1] * (x.ndim - 2)
    strides, dilations = strides or ones, dilations or ones
    whole = _CONV_TRANSPOSE[x.ndim](x, weight, None, strides, 0, 0, groups, dilations)
    crops = []
    for axis, (size, full) in enumerate(zip(x.shape[2:], whole.shape[2:], strict=True)):
        before, after = (pad or [0] * 2 * len(ones))[2 * axis : 2 * axis + 2] if pad_type == "custom" else (0, 0)
        if pad_type in ("same", "same_lower"):
            total = max(0, full - size * strides[axis])
            before = total // 2 if pad_type == "same" else total - total // 2
            after = full - size * strides[axis] - before
        if output_shape is not None:
            after = full - before - output_shape[axis + 2]
        crops.append((-before, -after))
    result = _windows.padded(whole, crops)
    return result if bias is None else result + bias.reshape(-1, *ones)
