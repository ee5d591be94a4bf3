"""Inputs of several shapes: those that a package lists or leaves open are taken, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import pytest
import torch

from edgekit import runtimes
from edgekit.errors import UsageError

RangeDim = coremltools.RangeDim


class Sum(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum((-2, -1))


def _session(path: Path, given: Any, example: torch.Tensor) -> runtimes.Session:
    """Of a package whose input is `given`, a type of coremltools'."""
    model = coremltools.convert(
        torch.jit.trace(Sum(), example),
        inputs=[given],
        minimum_deployment_target=coremltools.target.iOS17,
        compute_precision=coremltools.precision.FLOAT32,
        skip_model_load=True,
    )
    model.save(str(path))
    return runtimes.open(path)


def _array(tmp_path: Path, shape: Any) -> runtimes.Session:
    given = coremltools.TensorType(name="x", shape=shape, dtype=np.float32)
    return _session(tmp_path / "array.mlpackage", given, torch.ones(1, 4, 6))


def _assert_takes(session: runtimes.Session, *shapes: tuple[int, ...]) -> None:
    for shape in shapes:
        (found,) = session.run({"x": np.ones(shape, np.float32)}).values()
        np.testing.assert_array_equal(found, np.full(shape[:-2], shape[-2] * shape[-1]))


def _assert_refuses(session: runtimes.Session, listed: str, *shapes: tuple[int, ...]) -> None:
    for shape in shapes:
        with pytest.raises(UsageError, match="input 'x' does not fit") as caught:
            session.run({"x": np.ones(shape, np.float32)})
        assert caught.value.cause == f"it is float32 {list(shape)}; the model takes float32 {listed}"


@pytest.mark.parametrize("default", [(1, 4, 6), (1, 8, 12)])
def test_a_list_of_shapes_holds_whole(tmp_path: Path, default: tuple[int, ...]) -> None:
    session = _array(tmp_path, coremltools.EnumeratedShapes([(1, 4, 6), (1, 8, 12)], default=default))
    assert session.inputs[0].shape == default
    _assert_takes(session, (1, 4, 6), (1, 8, 12))
    _assert_refuses(session, "[1, 4, 6] or [1, 8, 12]", (1, 4, 12), (1, 5, 6), (1, 4), (2, 4, 6))


@pytest.mark.parametrize("default", [2, 4, 9])
def test_a_range_holds_at_both_ends_whatever_its_default(tmp_path: Path, default: int) -> None:
    session = _array(tmp_path, coremltools.Shape((1, RangeDim(2, 9, default=default), 6)))
    assert session.inputs[0].shape == (1, default, 6)
    _assert_takes(session, (1, 2, 6), (1, 7, 6), (1, 9, 6))
    _assert_refuses(session, "[1, 2 to 9, 6]", (1, 1, 6), (1, 10, 6), (1, 4, 5), (2, 4, 6))


def test_a_range_without_end_is_taken_as_it_comes() -> None:
    spec = runtimes.TensorSpec("x", (1, 4), "float32", choices=((range(1, 2), range(2, runtimes.UNLIMITED)),))
    assert spec.takes((1, 10**6))
    assert not spec.takes((1, 1))
    assert str(spec) == "float32 [1, 2 or more]"


def test_images_come_in_the_sizes_that_are_listed(tmp_path: Path) -> None:
    shape = coremltools.EnumeratedShapes([(1, 3, 4, 6), (1, 3, 8, 12)])
    session = _session(tmp_path / "image.mlpackage", coremltools.ImageType(name="x", shape=shape), torch.ones(1, 3, 4, 6))
    assert session.inputs[0].shape == (1, 3, 4, 6)
    _assert_takes(session, (1, 3, 4, 6), (1, 3, 8, 12))
    _assert_refuses(session, "[1, 3, 4, 6] or [1, 3, 8, 12]", (1, 3, 8, 6), (1, 1, 4, 6))


def test_images_come_in_the_range_of_sizes(tmp_path: Path) -> None:
    shape = coremltools.Shape((1, 1, RangeDim(4, 9, default=5), RangeDim(6, 7, default=6)))
    given = coremltools.ImageType(name="x", shape=shape, color_layout=coremltools.colorlayout.GRAYSCALE)
    session = _session(tmp_path / "image.mlpackage", given, torch.ones(1, 1, 4, 6))
    assert session.inputs[0].shape == (1, 1, 5, 6)
    _assert_takes(session, (1, 1, 4, 7), (1, 1, 9, 6))
    _assert_refuses(session, "[1, 1, 4 to 9, 6 to 7]", (1, 1, 3, 6), (1, 1, 9, 8))
