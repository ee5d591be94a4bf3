"""Order, accumulation and selection. Of equal elements the first comes first."""

from __future__ import annotations

import torch
from torch import Tensor


def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    return torch.sort(x, dim=axis, descending=not ascending, stable=True).indices


def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | list[Tensor]:
    """Sorted also where `sort` does not ask for it; a `k` of -1 takes all."""
    values, indices = torch.sort(x, dim=axis, descending=not ascending, stable=True)
    count = x.shape[axis] if k == -1 else k
    values, indices = values.narrow(axis, 0, count), indices.narrow(axis, 0, count)
    return [values, indices] if return_indices else values


def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Exclusive, each element counts only those before it."""
    x = x.flip(axis) if reverse else x
    total = x.cumsum(axis)
    total = total - x if exclusive and not x.is_floating_point() else total
    if exclusive and x.is_floating_point():  # a difference would cancel
        total = torch.cat([torch.zeros_like(x.narrow(axis, 0, 1)), total.narrow(axis, 0, x.shape[axis] - 1)], axis)
    return total.flip(axis) if reverse else total


def non_zero(x: Tensor) -> Tensor:
    return x.nonzero()


def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    max_boxes: int,
    score_threshold: float | None = None,
    per_class_suppression: bool = False,
) -> list[Tensor]:
    """Boxes as centre and size, taken by their best score while they overlap none taken before by more than the threshold.

    Up to iOS 16 (those with a `score_threshold`) boxes come before coordinates and classes, and the counts are an output;
    from iOS 17 on they come last. Rows beyond the count are 0, their index -1.
    """
    first_form = score_threshold is not None
    if not first_form:
        boxes, scores = boxes.transpose(1, 2), scores.transpose(1, 2)
    kept = [
        _suppressed(box, score, iou_threshold, max_boxes, score_threshold, per_class_suppression)
        for box, score in zip(boxes, scores, strict=True)
    ]
    indices = torch.stack([torch.cat([keep, keep.new_full((max_boxes - len(keep),), -1)]) for keep in kept])
    filled = (indices >= 0).unsqueeze(-1)
    at = indices.clamp(min=0).unsqueeze(-1)
    boxes = torch.take_along_dim(boxes, at, 1).where(filled, torch.zeros(()))
    scores = torch.take_along_dim(scores, at, 1).where(filled, torch.zeros(()))
    if not first_form:
        return [boxes.transpose(1, 2), scores.transpose(1, 2), indices]
    return [boxes, scores, indices, torch.tensor([len(keep) for keep in kept])]


def _suppressed(
    boxes: Tensor, scores: Tensor, iou_threshold: float, max_boxes: int, score_threshold: float | None, per_class: bool
) -> Tensor:
    """The boxes of one image that stay, best first."""
    best, classes = scores.max(-1)
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], -1)
    areas = boxes[:, 2] * boxes[:, 3]
    kept: list[int] = []
    for candidate in torch.sort(best, descending=True, stable=True).indices.tolist():
        if len(kept) == max_boxes or (score_threshold is not None and best[candidate] < score_threshold):
            break
        rivals = [i for i in kept if not per_class or classes[i] == classes[candidate]]
        low = torch.maximum(corners[rivals, :2], corners[candidate, :2])
        high = torch.minimum(corners[rivals, 2:], corners[candidate, 2:])
        shared = (high - low).clamp(min=0).prod(-1)
        if not bool((shared > iou_threshold * (areas[rivals] + areas[candidate] - shared)).any()):
            kept.append(candidate)
    return torch.tensor(kept, dtype=torch.int64)
