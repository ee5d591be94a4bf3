"""Resizing and sampling against PyTorch, and against the grids that coremltools documents."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from single import compute, noise

_X = noise(2, 3, 5, 7)
_T = torch.from_numpy(_X)
_RAMP = np.float32([[[[0, 1]]]])

# resize_bilinear's docstring: where a row of two pixels, 0 and 1, is sampled
_DOCUMENTED = {
    ("UNALIGN_CORNERS", 5): [0.0, 0.1, 0.5, 0.9, 1.0],
    ("STRICT_ALIGN_CORNERS", 5): [0.0, 0.25, 0.5, 0.75, 1.0],
    ("ALIGN_CORNERS", 5): [0.0, 0.25, 0.5, 0.75, 1.0],
    ("DEFAULT", 5): [0.0, 0.4, 0.8, 1.0, 1.0],
    ("OFFSET_CORNERS", 5): [0.1, 0.3, 0.5, 0.7, 0.9],
    ("UNALIGN_CORNERS", 6): [0.0, 0.0, 1 / 3, 2 / 3, 1.0, 1.0],
    ("STRICT_ALIGN_CORNERS", 6): [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
    ("DEFAULT", 6): [0.0, 1 / 3, 2 / 3, 1.0, 1.0, 1.0],
    ("OFFSET_CORNERS", 6): [1 / 12, 0.25, 5 / 12, 7 / 12, 0.75, 11 / 12],
    ("ALIGN_CORNERS", 1): [0.5],
    ("STRICT_ALIGN_CORNERS", 1): [0.0],
}


@pytest.mark.parametrize(("mode", "size"), _DOCUMENTED)
def test_the_documented_grids(mode: str, size: int) -> None:
    given = {"target_size_height": 1, "target_size_width": size, "sampling_mode": mode}
    np.testing.assert_allclose(compute("resize_bilinear", x=_RAMP, **given)[0, 0, 0], _DOCUMENTED[mode, size], atol=1e-6)
    found = compute("resize", x=_RAMP, shape=[1, size], resized_dims=2, interpolation_mode="LINEAR", sampling_mode=mode)
    np.testing.assert_allclose(found[0, 0, 0], _DOCUMENTED[mode, size], atol=1e-6)


@pytest.mark.parametrize("size", [(10, 14), (3, 4), (8, 9), (1, 1)])
@pytest.mark.parametrize("align", [False, True])
def test_bilinear_as_pytorch(size: tuple[int, int], align: bool) -> None:
    expected = F.interpolate(_T, size, mode="bilinear", align_corners=align)
    mode = "STRICT_ALIGN_CORNERS" if align else "UNALIGN_CORNERS"
    found = compute("resize_bilinear", x=_X, target_size_height=size[0], target_size_width=size[1], sampling_mode=mode)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0, 1.6])
@pytest.mark.parametrize("align", [False, True])
def test_upsampling_as_pytorch(scale: float, align: bool) -> None:
    given = {"scale_factor_height": scale, "scale_factor_width": scale}
    expected = F.interpolate(_T, scale_factor=scale, mode="bilinear", align_corners=align, recompute_scale_factor=True)
    np.testing.assert_allclose(compute("upsample_bilinear", x=_X, align_corners=align, **given), expected, rtol=1e-4, atol=1e-5)
    nearest = F.interpolate(_T, scale_factor=scale, mode="nearest", recompute_scale_factor=True)
    np.testing.assert_array_equal(compute("upsample_nearest_neighbor", x=_X, **given), nearest)


@pytest.mark.parametrize("size", [(10, 14), (3, 4), (8, 9)])
def test_nearest_as_pytorch(size: tuple[int, int]) -> None:
    expected = F.interpolate(_T, size, mode="nearest")
    found = compute("resize_nearest_neighbor", x=_X, target_size_height=size[0], target_size_width=size[1])
    np.testing.assert_array_equal(found, expected)
    given = {"resized_dims": 2, "interpolation_mode": "NEAREST_NEIGHBOR"}
    exact = F.interpolate(_T, size, mode="nearest-exact")
    found = compute("resize", x=_X, shape=[*size], sampling_mode="UNALIGN_CORNERS", **given)
    np.testing.assert_array_equal(found, exact)


def test_the_nearest_point_of_the_default_grid() -> None:
    given = {"resized_dims": 1, "interpolation_mode": "NEAREST_NEIGHBOR"}
    for size, expected in ((3, [0, 1, 1]), (4, [0, 0, 1, 1]), (1, [0])):
        np.testing.assert_array_equal(compute("resize", x=_RAMP, shape=[size], **given)[0, 0, 0], expected)


def test_a_size_of_zero_keeps_the_axis() -> None:
    assert compute("resize", x=_X, shape=[0, 9], resized_dims=2).shape == (2, 3, 5, 9)
    assert compute("resize", x=_X, shape=[1, 0, 9], resized_dims=1).shape == (2, 3, 5, 9)


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize(
    ("padding", "torch_padding"), [("constant", "zeros"), ("border", "border"), ("reflection", "reflection")]
)
def test_resample_as_grid_sample(sampling: str, align: bool, padding: str, torch_padding: str) -> None:
    points = noise(2, 4, 6, 2) * 1.3
    if padding == "reflection" and not align:
        padding = "symmetric"  # what PyTorch reflects at the pixels' edges
    expected = F.grid_sample(_T, torch.from_numpy(points), sampling, torch_padding, align)
    given = {"sampling_mode": sampling, "padding_mode": padding, "padding_value": 0.0, "align_corners": align}
    found = compute("resample", x=_X, coordinates=points, coordinates_mode="normalized_minus_one_to_one", **given)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    shifted = compute("resample", x=_X, coordinates=(points + 1) / 2, coordinates_mode="normalized_zero_to_one", **given)
    np.testing.assert_allclose(shifted, expected, rtol=1e-3, atol=1e-4)


def test_resample_in_pixels_pads_with_the_value() -> None:
    points = np.int32([[[[1, 0], [9, 9]]]])
    given = {"sampling_mode": "nearest", "padding_mode": "constant", "padding_value": 7.0, "align_corners": False}
    found = compute("resample", x=_X[:1], coordinates=points, coordinates_mode="unnormalized", **given)
    np.testing.assert_array_equal(found[0, :, 0], np.stack([_X[0, :, 0, 1], np.full(3, 7)], -1))


def test_affine_as_affine_grid() -> None:
    matrix = np.float32([[0.9, 0.1, 0.05, -0.2, 1.1, 0.3]])
    grid = F.affine_grid(torch.from_numpy(matrix).reshape(1, 2, 3).expand(2, -1, -1), [2, 3, 4, 6], align_corners=True)
    found = compute(
        "affine",
        x=_X,
        transform_matrix=matrix,
        output_height=4,
        output_width=6,
        sampling_mode="bilinear",
        padding_mode="constant",
        padding_value=0.0,
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=True,
    )
    np.testing.assert_allclose(found, F.grid_sample(_T, grid, align_corners=True), rtol=1e-4, atol=1e-5)


def test_a_box_is_cropped_in_every_form_of_its_coordinates() -> None:
    expected = _X[1:, :, 1:4, 2:6]
    size = {"target_height": 3, "target_width": 4, "sampling_mode": "STRICT_ALIGN_CORNERS"}
    forms = {
        "CORNERS_HEIGHT_FIRST": [1, 2, 3, 5],
        "CORNERS_WIDTH_FIRST": [2, 1, 5, 3],
        "CENTER_SIZE_HEIGHT_FIRST": [2, 3.5, 2, 3],
        "CENTER_SIZE_WIDTH_FIRST": [3.5, 2, 3, 2],
    }
    for form, box in forms.items():
        boxes = {"boxes": np.float32([box]), "box_indices": np.int32([1]), "box_coordinate_mode": form}
        np.testing.assert_allclose(compute("crop_resize", x=_X, **boxes, **size), expected, rtol=1e-5)
    normalized = {"boxes": np.float32([[1 / 4, 2 / 6, 3 / 4, 5 / 6]]), "box_indices": np.int32([1])}
    found = compute("crop_resize", x=_X, normalized_coordinates=True, **normalized, **size)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    old = compute("crop_resize", x=_X, roi=np.float32([1, 1, 2, 3, 5]).reshape(1, 1, 5, 1, 1), ios=15, **size)
    np.testing.assert_allclose(old, expected[None], rtol=1e-5)
    every = compute("crop_resize", x=_X, roi=np.float32([1, 2, 3, 5]).reshape(1, 1, 4, 1, 1), ios=16, **size)
    np.testing.assert_allclose(every, _X[None, :, :, 1:4, 2:6], rtol=1e-5)
    outside = {"boxes": np.float32([[3, 2, 5, 5]]), "box_indices": np.int32([0]), "pad_value": 9.0}
    assert (compute("crop_resize", x=_X, **outside, **size)[0, :, 2] == 9).all()


def test_a_box_may_run_backwards_and_a_point_outside_is_padding_alone() -> None:
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    size = {"target_height": 2, "target_width": 2, "sampling_mode": "ALIGN_CORNERS"}
    found = compute("crop_resize", x=x, boxes=np.float32([[2, 2, 1, 1]]), **size)
    np.testing.assert_allclose(found[0, 0], [[11, 10], [7, 6]])
    found = compute("crop_resize", x=x, boxes=np.float32([[0.3, 0.9, 3.9, 3]]), pad_value=5.0, **size)
    np.testing.assert_allclose(found[0, 0], [[3.1, 5.2], [5, 5]], rtol=1e-5)
