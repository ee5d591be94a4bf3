"""Calibration samples: a user's own, or from data; what is unfit is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from quantizing import noise
from torch import Tensor, nn

from edgekit import pipeline, recipe
from edgekit.errors import EdgekitError, InputError, UsageError
from edgekit.quantize import calibration
from edgekit.recipe import Quantize
from edgekit.sources import LoadedModel

_LIKE = {"x": noise(1, 3), "count": torch.tensor([1])}


def _sample(**changed: object) -> dict[str, Tensor]:
    return {"count": torch.tensor([2]), "x": noise(1, 3, seed=7), **changed}  # type: ignore[dict-item]


def test_a_user_s_samples_are_taken_in_the_model_s_order_and_no_more_than_asked_for() -> None:
    def forever() -> Iterator[dict[str, Tensor]]:
        while True:
            yield _sample(more=torch.ones(1))

    found = calibration.given(forever(), _LIKE, 3)
    assert [list(sample) for sample in found.samples] == [["x", "count"]] * 3
    assert found.record() is not None
    assert found.record().samples == 3  # type: ignore[union-attr]


def test_the_hash_is_of_every_value() -> None:
    one, same = (calibration.given([_sample()], _LIKE, 1).digest for _ in range(2))
    other = calibration.given([_sample(x=_sample()["x"].nextafter(torch.tensor(9.0)))], _LIKE, 1).digest
    assert one == same != other
    assert calibration.Calibration([]).digest == ""
    assert calibration.Calibration([]).record() is None


@pytest.mark.parametrize(
    ("sample", "what", "cause"),
    [
        ({"x": noise(1, 3)}, "sample 1 has no 'count'", ""),
        (_sample(x=noise(1, 4)), "sample 1 does not fit", "'x' is torch.float32 [1, 4], not torch.float32 [1, 3]"),
        (_sample(x=noise(1, 3).double()), "sample 1 does not fit", "torch.float64"),
        (_sample(x=[1.0, 2.0, 3.0]), "sample 1 does not fit", "'x' is a list"),
        (_sample(x=noise(1, 3) / 0), "sample 1 holds NaN or infinity", "in 'x'"),
        (_sample(x=torch.full((1, 3), torch.nan)), "sample 1 holds NaN or infinity", "in 'x'"),
    ],
)
def test_a_sample_that_does_not_fit_is_named(sample: dict[str, Tensor], what: str, cause: str) -> None:
    with pytest.raises(InputError) as raised:
        calibration.given([_sample(), sample], _LIKE, 5)
    assert what in raised.value.what
    assert cause in raised.value.cause
    assert raised.value.next_step


def test_no_samples_are_an_error() -> None:
    with pytest.raises(InputError, match="no calibration samples"):
        calibration.given([], _LIKE, 5)


def _model(batch: int = 1) -> LoadedModel:
    inputs = {"input": noise(batch, 3)}
    return LoadedModel("fc", nn.Linear(3, 2), inputs, output_names=(), weights="given", weights_sha256="")


def _npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("batch", [1, 4])
def test_samples_of_an_npz_are_spread_over_it_in_the_model_s_batch(tmp_path: Path, batch: int) -> None:
    data = _npz(tmp_path / "data.npz", input=np.arange(30, dtype=np.float32).reshape(10, 3))
    found = calibration.read(Quantize(scheme="int8", calibration=data, samples=4), _model(batch))
    assert found.source == "data.npz"
    assert [sample["input"][0, 0].item() for sample in found.samples] == [0, 9, 18, 27]
    assert all(list(sample["input"].shape) == [batch, 3] for sample in found.samples)


@pytest.mark.parametrize(
    "arrays",
    [
        {"input": np.zeros((4, 5), np.float32)},
        {"other": np.zeros((4, 3), np.float32)},
        {"input": np.full((4, 3), np.nan, np.float32)},
        {"input": np.zeros((0, 3), np.float32)},
    ],
)
def test_data_that_does_not_fit_the_model_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError) as raised:
        calibration.read(Quantize(scheme="int8", calibration=_npz(tmp_path / "data.npz", **arrays)), _model())
    assert raised.value.next_step


def test_data_that_is_damaged_or_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "empty").mkdir()
    for name in ("broken.npz", "empty"):
        with pytest.raises(InputError):
            calibration.read(Quantize(scheme="int8", calibration=tmp_path / name), _model())


def test_unfit_data_is_told_before_the_model_is_captured(tmp_path: Path) -> None:
    data = _npz(tmp_path / "data.npz", input=np.zeros((4, 5), np.float32))
    asked = recipe.from_request(model="lsnet_t", target="onnx", quantize={"scheme": "int8", "calibration": data})
    stages: list[str] = []
    with pytest.raises(InputError, match=r"input is \[5\]"):
        pipeline.export(asked, tmp_path / "out", model=_model(), announce=stages.append)
    assert stages == ["imports", "model"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("calibration", "kind", "what"),
    [(None, UsageError, "int8 needs calibration samples"), (Path("nowhere.npz"), InputError, "nowhere.npz do not exist")],
)
def test_missing_data_is_told_before_anything_is_done(
    tmp_path: Path, calibration: Path | None, kind: type[EdgekitError], what: str
) -> None:
    quantize = {"scheme": "int8", "calibration": calibration}
    asked = recipe.from_request(model="lsnet_t", target="onnx", quantize=quantize)
    stages: list[str] = []
    with pytest.raises(kind, match=what):
        pipeline.export(asked, tmp_path / "out", announce=stages.append)
    assert not stages
    assert not (tmp_path / "out").exists()
