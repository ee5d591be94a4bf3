"""Convolution and pooling against PyTorch, and against counting by hand where PyTorch has no such padding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from single import compute, noise

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _t(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (1, 2, 4), (3, 2, 1)])
def test_conv(axes: int, stride: int, dilation: int, groups: int) -> None:
    x, w, b = noise(2, 4, *[9] * axes), noise(8, 4 // groups, *[3] * axes), noise(8)
    given = {"strides": [stride] * axes, "dilations": [dilation] * axes, "groups": groups, "bias": b}
    found = compute("conv", x=x, weight=w, pad_type="custom", pad=[1] * 2 * axes, **given)
    expected = _CONV[axes](_t(x), _t(w), _t(b), stride, 1, dilation, groups)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    found = compute("conv", x=x, weight=w, pad_type="valid", **given)
    np.testing.assert_allclose(found, _CONV[axes](_t(x), _t(w), _t(b), stride, 0, dilation, groups), rtol=1e-4, atol=1e-5)


def test_conv_pads_each_side_by_its_own() -> None:
    x, w = noise(1, 2, 5, 6), noise(3, 2, 3, 2)
    found = compute("conv", x=x, weight=w, pad_type="custom", pad=[1, 2, 0, 3])
    np.testing.assert_allclose(found, F.conv2d(F.pad(_t(x), (0, 3, 1, 2)), _t(w)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [5, 6, 7])
@pytest.mark.parametrize("window", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_puts_the_odd_one_after_and_same_lower_before(size: int, window: int, stride: int) -> None:
    x, w = noise(1, 1, size), noise(1, 1, window)
    total = max(0, (math.ceil(size / stride) - 1) * stride + window - size)
    less, more = total // 2, total - total // 2
    for pad_type, pads in (("same", (less, more)), ("same_lower", (more, less))):
        found = compute("conv", x=x, weight=w, strides=[stride], pad_type=pad_type)
        assert found.shape[-1] == math.ceil(size / stride)
        np.testing.assert_allclose(found, F.conv1d(F.pad(_t(x), pads), _t(w), stride=stride), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("stride", "dilation", "groups", "pad"), [(1, 1, 1, 0), (2, 1, 2, 1), (2, 2, 4, 2), (3, 1, 1, 1)])
def test_conv_transpose(axes: int, stride: int, dilation: int, groups: int, pad: int) -> None:
    x, w, b = noise(2, 4, *[5] * axes), noise(4, 6 // (2 if groups == 2 else 1), *[3] * axes), noise(6 * max(1, groups // 2))
    if groups == 4:
        w, b = noise(4, 2, *[3] * axes), noise(8)
    elif groups == 1:
        b = noise(6)
    given = {"strides": [stride] * axes, "dilations": [dilation] * axes, "groups": groups, "bias": b}
    found = compute("conv_transpose", x=x, weight=w, pad_type="custom", pad=[pad] * 2 * axes, **given)
    expected = _TRANSPOSE[axes](_t(x), _t(w), _t(b), stride, pad, 0, groups, dilation)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_conv_transpose_to_a_shape_of_its_own() -> None:
    """As PyTorch's output padding: what lies beyond the transpose holds the bias alone."""
    x, w, b = noise(1, 3, 5, 5), noise(3, 2, 2, 2), noise(2)
    expected = F.conv_transpose2d(_t(x), _t(w), _t(b), stride=3, padding=1, output_padding=2)
    given = {"strides": [3, 3], "pad_type": "custom", "pad": [1] * 4, "bias": b, "output_shape": list(expected.shape)}
    np.testing.assert_allclose(compute("conv_transpose", x=x, weight=w, **given), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("window", "stride"), [(3, 2), (4, 2), (2, 3), (3, 1)])
def test_conv_transpose_same_is_stride_times_as_large(window: int, stride: int) -> None:
    x, w = noise(1, 1, 4), noise(1, 1, window)
    whole = F.conv_transpose1d(_t(x), _t(w), stride=stride)
    start = max(0, whole.shape[-1] - 4 * stride) // 2
    found = compute("conv_transpose", x=x, weight=w, strides=[stride], pad_type="same")
    expected = F.pad(whole, (0, 4 * stride))[..., start : start + 4 * stride]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("window", "stride", "pad"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (4, 3, 2)])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pooling(axes: int, window: int, stride: int, pad: int, ceil_mode: bool) -> None:
    x = noise(2, 3, *[8] * axes)
    given: dict[str, Any] = {"kernel_sizes": [window] * axes, "strides": [stride] * axes, "ceil_mode": ceil_mode}
    given |= {"pad_type": "custom", "pad": [pad] * 2 * axes}
    expected = _MAX[axes](_t(x), window, stride, pad, ceil_mode=ceil_mode)
    np.testing.assert_allclose(compute("max_pool", x=x, **given), expected, rtol=1e-5)
    for exclude in (False, True):
        average = _AVERAGE[axes](_t(x), window, stride, pad, ceil_mode=ceil_mode, count_include_pad=not exclude)
        found = compute("avg_pool", x=x, exclude_padding_from_average=exclude, **given)
        np.testing.assert_allclose(found, average, rtol=1e-4, atol=1e-5)


def test_l2_pool_is_the_root_of_the_sum_of_squares() -> None:
    x = noise(1, 2, 6, 6)
    found = compute("l2_pool", x=x, kernel_sizes=[2, 3], strides=[2, 3], pad_type="valid")
    expected = np.sqrt(np.square(x).reshape(1, 2, 3, 2, 2, 3).sum((3, 5)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_pooling_pads_each_side_by_its_own() -> None:
    x = np.float32([[[1, 2, 3]]])
    given: dict[str, Any] = {"kernel_sizes": [2], "strides": [1], "pad_type": "custom", "pad": [0, 2]}
    np.testing.assert_array_equal(compute("max_pool", x=-x, **given), [[[-1, -2, -3, -np.inf]]])
    np.testing.assert_allclose(compute("avg_pool", x=x, **given), [[[1.5, 2.5, 1.5, 0]]])
    counted = compute("avg_pool", x=x, exclude_padding_from_average=True, **given | {"pad": [0, 1]})
    np.testing.assert_allclose(counted, [[[1.5, 2.5, 3]]])
    np.testing.assert_allclose(
        compute("avg_pool", x=x, kernel_sizes=[2], strides=[2], pad_type="same", exclude_padding_from_average=True),
        [[[1.5, 3]]],
    )
    np.testing.assert_allclose(compute("avg_pool", x=x, kernel_sizes=[2], strides=[2], pad_type="same_lower"), [[[0.5, 2.5]]])
