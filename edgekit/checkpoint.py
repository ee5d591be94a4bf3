"""Reads checkpoints. They are data: nothing in them is ever run.

What a file is, its first bytes tell, not its name: a `.pth` may well hold safetensors, or the web page of a failed download.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

_WRAPPERS = ("model_ema", "state_dict_ema", "model", "state_dict", "module", "ema")
_DEEPEST = 4
"""Wrappers inside wrappers; a file may also hold itself."""
_PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
_SHOWN = 5
_AGAIN = "download it again: it may be cut short"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds."""

    path: Path
    state: dict[str, Tensor]
    """Every tensor by its name, as the module's state dict calls it."""
    input_size: int | None
    """The pixels of the images it was trained on, where an `input_size` beside the state dict says so."""


def read(path: Path) -> Checkpoint:
    """The checkpoint at `path`, its state dict out of its wrappers. Raises WeightsError for a file that is missing, corrupt,
    needs pickle, or holds no state dict."""
    from torch import Tensor

    content = _content(path)
    noted = content.get("input_size") if isinstance(content, dict) else None
    size = noted if isinstance(noted, int) else None
    for _ in range(_DEEPEST):
        if not isinstance(content, dict):
            break
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return Checkpoint(path, _plain_names({str(name): tensor for name, tensor in content.items()}), size)
        content = next((content[w] for w in _WRAPPERS if isinstance(content.get(w), dict)), content)
    raise WeightsError(
        f"{path} holds no state dict",
        cause=f"it holds {_described(content)}",
        next_step=f"save the model's state_dict(), plain or under one of {', '.join(_WRAPPERS)}",
    )


def require_file(path: Path) -> None:
    """Raise WeightsError unless `path` is a file."""
    if not path.is_file():
        what = "is a folder, not a checkpoint" if path.is_dir() else "does not exist"
        raise WeightsError(f"{path} {what}", next_step="check the path given to --weights")


def _content(path: Path) -> object:
    """What the file holds, loaded by the reader for its first bytes."""
    require_file(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read", cause=str(error.strerror), next_step="check its permissions") from error
    if start[8:9] == b"{":  # eight bytes of length, then JSON
        return _read_safetensors(path)
    if start.startswith(b"PK"):
        return _read_archive(path)
    if start.startswith(b"\x80"):
        return _read_torch(path)
    raise WeightsError(f"{path} is no checkpoint", cause=_nature(start), next_step="give a whole .pth or .safetensors file")


def _nature(start: bytes) -> str:
    """What a file that is no checkpoint seems to be."""
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; the file itself comes with `git lfs pull`"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, not the file the page offers"
    return f"it begins with {start[:16]!r}, as neither PyTorch nor safetensors files do"


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file", cause=str(error), next_step=_AGAIN) from error


def _read_archive(path: Path) -> object:
    """A file in PyTorch's zip format. PyTorch itself does not look at the checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise WeightsError(
                    f"{path} is a TorchScript program",
                    cause="it holds code beside its tensors, which edgekit never runs",
                    next_step="where you trust it, convert it once: "
                    f"torch.save(torch.jit.load('{path}').state_dict(), 'weights.pth')",
                )
            damaged = archive.testzip()
    # NotImplementedError is zipfile's word for a compression or an encryption that it does not know.
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise WeightsError(f"{path} is no readable checkpoint", cause=_sentence(error), next_step=_AGAIN) from error
    if damaged is not None:
        raise WeightsError(f"{path} is damaged", cause=f"{damaged} does not match its checksum", next_step=_AGAIN)
    return _read_torch(path)


def _read_torch(path: Path) -> object:
    import torch

    try:
        # PyTorch warns of pickle protocols: nothing a user can act on. Given the path, it would choose by its suffix.
        with warnings.catch_warnings(action="ignore"), path.open("rb") as stream:
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise WeightsError(
            f"{path} holds more than tensors: {named[1]}" if named else f"{path} is damaged, or holds more than tensors",
            cause="such objects run code when they are loaded, which edgekit never lets them do" if named else _sentence(error),
            next_step=f"where you trust it, load it once with torch.load('{path}', weights_only=False) and save its state dict "
            "alone, with torch.save or as safetensors",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise WeightsError(f"{path} is no readable checkpoint", cause=_sentence(error), next_step=_AGAIN) from error


def without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without BatchNorm's counts of training steps: inference never reads them, and older checkpoints lack them."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(".num_batches_tracked")}


def _plain_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names without what a wrapping module put before every one of them."""
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _plain_names({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state


def _described(content: object) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    if not content:
        return "nothing"
    keys = ", ".join(map(str, list(content)[:_SHOWN]))
    return f"the keys {keys}{', ...' if len(content) > _SHOWN else ''}"


def _sentence(error: Exception) -> str:
    """The first sentence of an error's text; unpickling errors lead with advice that does not apply here."""
    text = str(error).split("WeightsUnpickler error:")[-1].split("Check the documentation")[0]
    return re.sub(r"\s+", " ", text).strip().split(". ")[0][:200] or type(error).__name__
