"""Checkpoints are data: read by what they are, out of the usual wrappers, and nothing in them is ever run."""

from __future__ import annotations

import argparse
import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgekit import checkpoint
from edgekit.errors import WeightsError

_STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


class _Touches:
    """Unpickled, it would create `witness`."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.witness}'",)


def _saved(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def _assert_is_state(found: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(_STATE)
    assert all(torch.equal(found[name], _STATE[name]) for name in _STATE)


def _refusal(path: Path) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        checkpoint.read(path)
    assert str(path) in caught.value.what
    assert caught.value.next_step
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize("new_format", [True, False])
def test_a_plain_state_dict_is_read_in_both_of_pytorch_s_formats(tmp_path: Path, new_format: bool) -> None:
    _assert_is_state(checkpoint.read(_saved(tmp_path / "w.pth", _STATE, _use_new_zipfile_serialization=new_format)).state)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(_STATE, tmp_path / "w.safetensors")
    assert set(checkpoint.read(tmp_path / "w.safetensors").state) == set(_STATE)


def test_a_file_is_known_by_its_content_not_its_name(tmp_path: Path) -> None:
    save_file(_STATE, tmp_path / "tensors.pth")
    assert set(checkpoint.read(tmp_path / "tensors.pth").state) == set(_STATE)
    _assert_is_state(checkpoint.read(_saved(tmp_path / "torch.safetensors", _STATE)).state)


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "model_ema", "state_dict_ema", "module", "ema"])
def test_a_state_dict_is_taken_out_of_its_wrapper(tmp_path: Path, wrapper: str) -> None:
    _assert_is_state(checkpoint.read(_saved(tmp_path / "w.pth", {"epoch": 3, "optimizer": {"lr": 0.1}, wrapper: _STATE})).state)


def test_the_size_it_was_trained_on_is_read_where_it_stands(tmp_path: Path) -> None:
    assert checkpoint.read(_saved(tmp_path / "w.pth", {"model": _STATE, "input_size": 64})).input_size == 64
    assert checkpoint.read(_saved(tmp_path / "w.pth", {"model": _STATE, "input_size": "64"})).input_size is None
    assert checkpoint.read(_saved(tmp_path / "w.pth", _STATE)).input_size is None


def test_of_two_wrappers_the_averaged_weights_are_taken(tmp_path: Path) -> None:
    raw = {name: torch.zeros_like(tensor) for name, tensor in _STATE.items()}
    _assert_is_state(checkpoint.read(_saved(tmp_path / "w.pth", {"model": raw, "model_ema": _STATE})).state)


def test_wrappers_in_wrappers_are_opened(tmp_path: Path) -> None:
    _assert_is_state(checkpoint.read(_saved(tmp_path / "w.pth", {"model": {"state_dict": _STATE}})).state)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_dataparallel_and_compile_put_before_every_name_is_dropped(tmp_path: Path, prefix: str) -> None:
    _assert_is_state(checkpoint.read(_saved(tmp_path / "w.pth", {prefix + name: t for name, t in _STATE.items()})).state)


def test_a_submodule_called_module_keeps_its_name(tmp_path: Path) -> None:
    state = {"module.weight": torch.ones(1), "weight": torch.zeros(1)}
    assert set(checkpoint.read(_saved(tmp_path / "w.pth", state)).state) == set(state)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("place", ["beside", "whole"])
def test_a_checkpoint_with_code_is_refused_and_the_code_never_runs(tmp_path: Path, new_format: bool, place: str) -> None:
    witness = tmp_path / "witness"
    content = {"model": _STATE, "extra": _Touches(witness)} if place == "beside" else _Touches(witness)
    path = _saved(tmp_path / "evil.pth", content, _use_new_zipfile_serialization=new_format)
    error = _refusal(path)
    assert not witness.exists()
    assert "holds more than tensors" in error.what
    assert "system" in error.what
    assert "run code" in error.cause
    assert "weights_only=False" in error.next_step
    assert "state dict" in error.next_step
    torch.load(path, weights_only=False)  # what a careless reader does: the trap is real
    assert witness.exists()


def test_a_bare_pickle_is_refused_and_never_runs(tmp_path: Path) -> None:
    witness, path = tmp_path / "witness", tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"model": _Touches(witness)}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch would warn of the protocol
        _refusal(path)
    assert not witness.exists()


def test_training_arguments_beside_the_weights_are_named_with_the_safe_way(tmp_path: Path) -> None:
    error = _refusal(_saved(tmp_path / "w.pth", {"model": _STATE, "args": argparse.Namespace(lr=1)}))
    assert "argparse.Namespace" in error.what
    assert "torch.load" in error.next_step


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    assert "torch.nn.modules" in _refusal(_saved(tmp_path / "w.pth", nn.Linear(2, 2))).what


def test_a_torchscript_program_is_named_as_one(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "w.pt")
    error = _refusal(tmp_path / "w.pt")
    assert "TorchScript" in error.what
    assert "torch.jit.load" in error.next_step


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_short_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path, state = tmp_path / "w.pth", {"weight": torch.arange(10_000.0)}
    if kind == "safetensors":
        save_file(state, path)
    else:
        _saved(path, state, _use_new_zipfile_serialization=kind == "zip")
    assert checkpoint.read(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    error = _refusal(path)
    assert "no readable" in error.what or "damaged" in error.what
    assert "cut short" in error.next_step or "damaged" in error.what


def test_flipped_bytes_are_noticed(tmp_path: Path) -> None:
    path = _saved(tmp_path / "w.pth", {"weight": torch.arange(10_000.0)})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # PyTorch itself does not
    error = _refusal(path)
    assert "damaged" in error.what
    assert "checksum" in error.cause


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"import torch\n", "b'import torch"),
    ],
)
def test_what_is_no_checkpoint_is_told_apart(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    error = _refusal(path)
    assert "is no checkpoint" in error.what
    assert cause in error.cause


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert "no readable checkpoint" in _refusal(tmp_path / "w.zip").what


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ({}, "it holds nothing"),
        ([torch.ones(1)], "it holds a list"),
        (torch.ones(1), "it holds a Tensor"),
        ({"epoch": 3, "loss": 0.1}, "the keys epoch, loss"),
        ({"weight": torch.ones(1), "count": 3}, "the keys weight, count"),
    ],
)
def test_a_file_without_a_state_dict_tells_what_it_holds(tmp_path: Path, content: object, cause: str) -> None:
    error = _refusal(_saved(tmp_path / "w.pth", content))
    assert "holds no state dict" in error.what
    assert cause in error.cause
    assert "state_dict()" in error.next_step


def test_a_file_that_holds_itself_is_not_searched_forever(tmp_path: Path) -> None:
    content: dict[str, object] = {"epoch": 1}
    content["model"] = content
    assert "holds no state dict" in _refusal(_saved(tmp_path / "w.pth", content)).what


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    assert "does not exist" in _refusal(tmp_path / "nowhere.pth").what
    assert "is a folder" in _refusal(tmp_path).what
