"""Images sampled at computed points: crops, given coordinates, affine maps."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.runtimes.coreml_reference.ops.resize import _points


def crop_resize(
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """Each box of each image, resized; `pad_value` where a box leaves the image.

    Up to iOS 16 `roi` is [N, 1, 4, 1, 1] for boxes of every image, or [N, 1, 5, 1, 1] with the image's index first; from
    iOS 17 on `boxes` are [N, 4] and `box_indices` name their images.
    """
    every_image = False
    if roi is not None:
        rows = roi.reshape(roi.shape[0], -1)
        every_image = rows.shape[1] == 4
        box_indices, boxes = (None, rows) if every_image else (rows[:, 0], rows[:, 1:])
    assert boxes is not None
    corners = _corners(boxes.double(), box_coordinate_mode)
    if normalized_coordinates:
        corners = corners * torch.tensor([x.shape[-2] - 1, x.shape[-1] - 1] * 2)
    corners = corners * spatial_scale
    crops = []
    for number, (top, left, bottom, right) in enumerate(corners.tolist()):
        ys = _points(top, bottom, target_height, sampling_mode)
        xs = _points(left, right, target_width, sampling_mode)
        images = x if every_image else x[int(box_indices[number] if box_indices is not None else number)].unsqueeze(0)
        rows, columns = (part.expand(len(images), -1, -1) for part in torch.meshgrid(ys, xs, indexing="ij"))
        outside = ((ys < 0) | (ys > x.shape[-2] - 1)).unsqueeze(1) | (xs < 0) | (xs > x.shape[-1] - 1)
        crops.append(_bilinear(images, rows, columns, "border", 0.0).masked_fill(outside, pad_value))
    return torch.stack(crops) if roi is not None else torch.cat(crops)


def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """The points (x, y) of `coordinates`, bilinear or nearest (a half goes up)."""
    ys, xs = (
        _pixels(coordinates[..., part].double(), x.shape[axis], coordinates_mode, align_corners)
        for part, axis in ((1, -2), (0, -1))
    )
    if sampling_mode == "nearest":
        return _taken(x, (ys + 0.5).floor().long(), (xs + 0.5).floor().long(), padding_mode, padding_value)
    return _bilinear(x, ys, xs, padding_mode, padding_value)


def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """The points that the matrix makes of the output's, both from -1 to 1."""
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, output_height), torch.linspace(-1, 1, output_width), indexing="ij")
    points = torch.stack([xs, ys, torch.ones_like(xs)], -1)
    mapped = torch.einsum("hwk,bjk->bhwj", points, transform_matrix.reshape(-1, 2, 3)).expand(x.shape[0], -1, -1, -1)
    return resample(x, mapped, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)


def _corners(boxes: Tensor, mode: str) -> Tensor:
    """(top, left, bottom, right) of each box."""
    first, second, third, fourth = boxes.unbind(-1)
    if mode.endswith("WIDTH_FIRST"):
        first, second, third, fourth = second, first, fourth, third
    if mode.startswith("CENTER_SIZE"):
        return torch.stack([first - third / 2, second - fourth / 2, first + third / 2, second + fourth / 2], -1)
    return torch.stack([first, second, third, fourth], -1)


def _pixels(points: Tensor, size: int, mode: str, align_corners: bool) -> Tensor:
    """Coordinates as pixel positions."""
    if mode == "unnormalized":
        return points
    share = (points + 1) / 2 if mode == "normalized_minus_one_to_one" else points
    return share * (size - 1) if align_corners else share * size - 0.5


def _bilinear(x: Tensor, ys: Tensor, xs: Tensor, padding_mode: str, padding_value: float) -> Tensor:
    """Between the four neighbours. Points are [images, height, width] in pixels."""
    top, left = ys.floor().long(), xs.floor().long()
    down, across = ((part - whole).to(x.dtype).unsqueeze(1) for part, whole in ((ys, top), (xs, left)))
    rows = []
    for y in (top, top + 1):
        near, far = (_taken(x, y, column, padding_mode, padding_value) for column in (left, left + 1))
        rows.append(near * (1 - across) + far * across)
    return rows[0] * (1 - down) + rows[1] * down


def _taken(x: Tensor, ys: Tensor, xs: Tensor, padding_mode: str, padding_value: float) -> Tensor:
    """The pixels at whole positions, also outside the image."""
    height, width = x.shape[-2:]
    images = torch.arange(len(x)).reshape(-1, 1, 1)
    found = x[images, :, _inside(ys, height, padding_mode), _inside(xs, width, padding_mode)].movedim(-1, 1)
    if padding_mode != "constant":
        return found
    outside = (ys < 0) | (ys >= height) | (xs < 0) | (xs >= width)
    return found.masked_fill(outside.unsqueeze(1), padding_value)


def _inside(positions: Tensor, size: int, padding_mode: str) -> Tensor:
    if padding_mode == "symmetric":
        positions = positions.remainder(2 * size)
        positions = torch.minimum(positions, 2 * size - 1 - positions)
    elif padding_mode == "reflection" and size > 1:
        positions = positions.remainder(2 * (size - 1))
        positions = torch.minimum(positions, 2 * (size - 1) - positions)
    return positions.clamp(0, size - 1)
