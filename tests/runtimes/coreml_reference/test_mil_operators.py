"""Operators that coremltools does not evaluate itself, against PyTorch or values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from single import compute, noise

_X = noise(2, 3, 4, 5)


def _t(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


# --- normalization


def test_norms() -> None:
    mean, variance, gamma, beta = noise(3), np.abs(noise(3, seed=1)) + 0.1, noise(3, seed=2), noise(3, seed=3)
    found = compute("batch_norm", x=_X, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=1e-3)
    expected = F.batch_norm(_t(_X), _t(mean), _t(variance), _t(gamma), _t(beta), eps=1e-3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    found = compute("instance_norm", x=_X, gamma=gamma, beta=beta, epsilon=1e-3)
    np.testing.assert_allclose(found, F.instance_norm(_t(_X), weight=_t(gamma), bias=_t(beta), eps=1e-3), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(compute("instance_norm", x=_X), F.instance_norm(_t(_X)), rtol=1e-4, atol=1e-5)
    weight = noise(3, 5)
    found = compute("layer_norm", x=_X, axes=[1, -1], gamma=weight, beta=weight)
    moved = F.layer_norm(_t(_X).permute(0, 2, 1, 3), (3, 5), _t(weight), _t(weight)).permute(0, 2, 1, 3)
    np.testing.assert_allclose(found, moved, rtol=1e-4, atol=1e-5)
    found = compute("l2_norm", x=_X, epsilon=0.5)
    np.testing.assert_allclose(found, _X / np.sqrt(np.square(_X).sum((1, 2, 3), keepdims=True) + 0.5), rtol=1e-5)
    found = compute("local_response_norm", x=_X, size=3, alpha=0.1, beta=0.5, k=2.0)
    np.testing.assert_allclose(found, F.local_response_norm(_t(_X), 3, 0.1, 0.5, 2.0), rtol=1e-5)


# --- attention


@pytest.mark.parametrize("mask", [None, noise(4, 6), noise(1, 1, 4, 6) > -1])
def test_attention(mask: np.ndarray | None) -> None:
    query, key, value = noise(2, 3, 4, 8), noise(2, 3, 6, 8, seed=1), noise(2, 3, 6, 7, seed=2)
    found = compute("scaled_dot_product_attention", query=query, key=key, value=value, attn_mask=mask, ios=18)
    expected = F.scaled_dot_product_attention(_t(query), _t(key), _t(value), None if mask is None else _t(mask))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# --- gather and scatter


def test_gather_with_batches_is_gather_of_each() -> None:
    x, indices = noise(2, 5, 3), np.int32([[4, 0], [1, 1]])
    found = compute("gather", x=x, indices=indices, axis=1, batch_dims=1)
    np.testing.assert_array_equal(found, np.stack([x[0][[4, 0]], x[1][[1, 1]]]))
    found = compute("gather", x=x, indices=np.int32([[2], [0]]), axis=2, batch_dims=1)
    np.testing.assert_array_equal(found, np.stack([x[0][:, [2]], x[1][:, [0]]]))


def test_gather_nd_takes_what_the_position_does_not_reach_whole() -> None:
    x = noise(2, 3, 4)
    np.testing.assert_array_equal(compute("gather_nd", x=x, indices=np.int32([[1, 2], [0, 0]])), np.stack([x[1, 2], x[0, 0]]))
    np.testing.assert_array_equal(compute("gather_nd", x=x, indices=np.int32([[[1, 2, 3]]])), x[1, 2, 3].reshape(1, 1))
    found = compute("gather_nd", x=x, indices=np.int32([[[2]], [[1]]]), batch_dims=1)
    np.testing.assert_array_equal(found, np.stack([x[0][[2]], x[1][[1]]]))


@pytest.mark.parametrize(
    ("operator", "indices"),
    [("gather", [-1]), ("gather_along_axis", [[-1, -1]]), ("gather_nd", [[-1]])],
)
def test_a_negative_index_counts_from_the_end_until_ios_16_and_is_an_error_from_17(operator: str, indices: Any) -> None:
    x = np.float32([[1, 2], [3, 4]])
    found = compute(operator, x=x, indices=np.int32(indices), ios=16)
    np.testing.assert_array_equal(found.reshape(-1), [3, 4])
    with pytest.raises(IndexError, match="index -1 is out of bounds of an axis of size 2, and from iOS 17 on negative ones"):
        compute(operator, x=x, indices=np.int32(indices), ios=17)
    with pytest.raises(IndexError, match="index 2 is out of bounds"):
        compute(operator, x=x, indices=np.abs(np.int32(indices)) + 1, ios=16)


_MODES = {
    "update": lambda old, new: new[-1],
    "add": lambda old, new: old + sum(new),
    "sub": lambda old, new: old - sum(new),
    "mul": lambda old, new: old * np.prod(new),
    "div": lambda old, new: old / np.prod(new),
    "max": lambda old, new: max(old, *new),
    "min": lambda old, new: min(old, *new),
}


@pytest.mark.parametrize("mode", _MODES)
def test_scatter_combines_all_updates_of_a_place(mode: str) -> None:
    data, updates = noise(4), np.float32([2, -3, 0.5])
    expected = data.copy()
    expected[1] = _MODES[mode](data[1], [2, 0.5])
    expected[3] = _MODES[mode](data[3], [-3])
    for operator, indices in (("scatter", [1, 3, 1]), ("scatter_along_axis", [1, 3, 1]), ("scatter_nd", [[1], [3], [1]])):
        found = compute(operator, data=data, indices=np.int32(indices), updates=updates, mode=mode)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_scatter_over_an_axis() -> None:
    data, updates = noise(2, 3, 4), noise(2, 2, 4, seed=1)
    expected = data.copy()
    expected[:, [2, 0]] = updates
    found = compute("scatter", data=data, indices=np.int32([2, 0]), updates=updates, axis=1, mode="update")
    np.testing.assert_array_equal(found, expected)
    index = np.int32([[[0, 2, 1, 0]], [[2, 2, 0, 1]]])
    expected = _t(data).scatter_add(1, _t(index).long(), _t(updates[:, :1]))
    np.testing.assert_allclose(
        compute("scatter_along_axis", data=data, indices=index, updates=updates[:, :1], axis=1), expected
    )
    expected = data.copy()
    expected[1, 2] += updates[0, 0]
    np.testing.assert_allclose(compute("scatter_nd", data=data, indices=np.int32([[1, 2]]), updates=updates[0, :1]), expected)


# --- slices and shapes


def test_slice_update_writes_where_slice_by_index_reads() -> None:
    x, update = noise(4, 5), noise(2, 3)
    expected = x.copy()
    expected[3:0:-2, 1:4] = update
    found = compute("slice_update", x=x, update=update, begin=[3, 1], end=[0, 4], stride=[-2, 1])
    np.testing.assert_array_equal(found, expected)
    expected = x.copy()
    expected[2, :] = update.reshape(-1)[:5]
    given: dict[str, Any] = {"begin": [2, 0], "end": [0, 0], "squeeze_mask": [True, False], "end_mask": [False, True]}
    np.testing.assert_array_equal(compute("slice_update", x=x, update=update.reshape(-1)[:5], **given), expected)


def test_an_index_outside_its_axis_is_an_error() -> None:
    with pytest.raises(IndexError, match="index 4 is outside axis 0 of size 4"):
        compute("slice_by_index", x=noise(4), begin=[4], end=[5], squeeze_mask=[True])


def test_crop_and_windows() -> None:
    np.testing.assert_array_equal(compute("crop", x=_X, crop_height=[1, 2], crop_width=[0, 3]), _X[..., 1:2, 0:2])
    found = compute("sliding_windows", x=np.arange(5, dtype=np.float32), axis=0, size=3, stride=2)
    np.testing.assert_array_equal(found, [[0, 1, 2], [2, 3, 4]])
    assert compute("sliding_windows", x=_X, axis=1, size=2).shape == (2, 2, 2, 4, 5)


def test_reverse_sequence_turns_only_the_beginning() -> None:
    x = np.float32([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    found = compute("reverse_sequence", x=x, lengths=np.int32([2, 3, 0]), seq_axis=1, batch_axis=0)
    np.testing.assert_array_equal(found, [[2, 1, 3], [6, 5, 4], [7, 8, 9]])
    found = compute("reverse_sequence", x=x, lengths=np.int32([2, 3, 0]), seq_axis=0, batch_axis=-1)
    np.testing.assert_array_equal(found, [[4, 8, 3], [1, 5, 6], [7, 2, 9]])


def test_an_exclusive_sum_begins_with_zero() -> None:
    x = np.float32([[1, 2, 3]])
    np.testing.assert_array_equal(compute("cumsum", x=x, axis=1, exclusive=True), [[0, 1, 3]])
    np.testing.assert_array_equal(compute("cumsum", x=x, axis=-1, exclusive=True, reverse=True), [[5, 3, 0]])
    np.testing.assert_array_equal(compute("cumsum", x=x.astype(np.int32), axis=1, exclusive=True), [[0, 1, 3]])


def test_reshape_reads_zeros_from_the_left_until_ios_16_and_from_the_right_from_17() -> None:
    x = noise(2, 50)
    assert compute("reshape", x=x, shape=[0, 5, -1], ios=16).shape == (2, 5, 10)
    assert compute("reshape", x=x, shape=[1, 0, -1, 0], ios=17).shape == (1, 1, 2, 50)
    given = {"ref_tensors": (noise(2, 3, 4), noise(1, 5, 6)), "begins": (0, 1), "ends": (2, 0), "end_masks": (False, True)}
    assert compute("reshape_like", x=noise(180), **given).shape == (2, 3, 5, 6)


def test_blocks_move_between_depth_space_and_batch() -> None:
    depth = np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1)
    # the channel counts blocks first: 0, 2, 4, 6 are the four places of channel 0
    np.testing.assert_array_equal(compute("depth_to_space", x=depth, block_size=2)[0, 0], [[0, 2], [4, 6]])
    np.testing.assert_array_equal(compute("pixel_shuffle", x=depth, upscale_factor=2)[0, 0], [[0, 1], [2, 3]])
    x = noise(2, 3, 4, 6)
    for there, back, size in (("space_to_depth", "depth_to_space", "block_size"),):
        np.testing.assert_array_equal(compute(back, x=compute(there, x=x, **{size: 2}), **{size: 2}), x)
    unshuffled = compute("pixel_unshuffle", x=x, downscale_factor=2)
    np.testing.assert_array_equal(compute("pixel_shuffle", x=unshuffled, upscale_factor=2), x)
    batches = compute("space_to_batch", x=x, block_shape=[2, 3], paddings=np.int32([[1, 1], [0, 3]]))
    assert batches.shape == (12, 3, 3, 3)
    np.testing.assert_array_equal(batches[0, 0, 0], [0, 0, 0])  # the padded row above the image
    found = compute("batch_to_space", x=batches, block_shape=[2, 3], crops=np.int32([[1, 1], [0, 3]]))
    np.testing.assert_array_equal(found, x)


def test_one_hot_is_off_for_an_index_outside() -> None:
    indices = np.int32([0, 2, 5, -1])
    found = compute("one_hot", indices=indices, one_hot_vector_size=3)
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])
    found = compute("one_hot", indices=indices, one_hot_vector_size=3, axis=0, on_value=np.float32(2), off_value=np.float32(-1))
    assert found.shape == (3, 4)
    assert found[0, 0] == 2
    assert found[1, 0] == -1


def test_fill_like_and_empty_tensors() -> None:
    np.testing.assert_array_equal(compute("fill_like", ref_tensor=_X, value=np.int32(3)), np.full(_X.shape, 3))
    empty = np.zeros((0, 3), np.float32)
    assert compute("relu", x=empty).shape == (0, 3)
    assert compute("reduce_sum", x=empty, axes=[0]).tolist() == [0, 0, 0]
    assert compute("concat", values=(empty, noise(2, 3)), axis=0).shape == (2, 3)
    assert compute("slice_by_index", x=_X, begin=[0, 2, 0, 0], end=[2, 1, 4, 5]).shape == (2, 0, 4, 5)


# --- order


def test_of_equals_the_first_comes_first() -> None:
    x = np.float32([[2, 1, 2, 2, 0, 1]])
    np.testing.assert_array_equal(compute("argsort", x=x, axis=1), [[0, 2, 3, 1, 5, 4]])
    np.testing.assert_array_equal(compute("argsort", x=x, axis=1, ascending=True), [[4, 1, 5, 0, 2, 3]])
    np.testing.assert_array_equal(compute("topk", x=x, k=2, axis=1)[1], [[0, 2]])
    assert compute("topk", x=x, k=-1, axis=1)[0].shape == (1, 6)


def test_suppression_drops_what_overlaps_a_better_box() -> None:
    boxes = np.float32([[[1, 1, 2, 2], [1.1, 1, 2, 2], [5, 5, 2, 2], [9, 9, 1, 1]]])
    scores = np.float32([[[0.9, 0.1], [0.8, 0.1], [0.2, 0.95], [0.05, 0.01]]])
    given = {"iou_threshold": 0.5, "max_boxes": 3, "score_threshold": 0.1}
    kept, their_scores, indices, count = compute("non_maximum_suppression", boxes=boxes, scores=scores, **given)
    assert indices.tolist() == [[2, 0, -1]]
    assert count.tolist() == [2]
    np.testing.assert_array_equal(kept[0], [boxes[0, 2], boxes[0, 0], np.zeros(4)])
    np.testing.assert_array_equal(their_scores[0], [scores[0, 2], scores[0, 0], np.zeros(2)])
    rivals = np.float32([[[0.9, 0.1], [0.1, 0.8], [0.2, 0.95], [0.05, 0.01]]])
    per_class = compute("non_maximum_suppression", boxes=boxes, scores=rivals, per_class_suppression=True, **given)
    assert per_class[2].tolist() == [[2, 0, 1]]
    flipped = {"boxes": boxes.transpose(0, 2, 1), "scores": scores.transpose(0, 2, 1)}
    found = compute("non_maximum_suppression", **flipped, iou_threshold=0.5, max_boxes=3)
    assert [part.shape for part in found] == [(1, 4, 3), (1, 2, 3), (1, 3)]
    assert found[2].tolist() == [[2, 0, 3]]


def test_a_classifier_gives_its_label_and_the_probabilities() -> None:
    label, probabilities = compute("classify", probabilities=np.float32([[0.1, 0.7, 0.2]]), classes=("ant", "bee", "cat"))
    assert label == "bee"
    np.testing.assert_allclose(probabilities, [0.1, 0.7, 0.2])


def test_interleaving_alternates_along_any_axis() -> None:
    x, y = np.float32([[1, 2], [3, 4]]), np.float32([[5, 6], [7, 8]])
    np.testing.assert_array_equal(compute("concat", values=(x, y), axis=1, interleave=True), [[1, 5, 2, 6], [3, 7, 4, 8]])
    np.testing.assert_array_equal(compute("concat", values=(x, y), axis=-2, interleave=True), [[1, 2], [5, 6], [3, 4], [7, 8]])
