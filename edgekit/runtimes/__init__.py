"""Runtimes execute artifacts on this machine, one runtime a file.

A runtime file is found by its name and exports

- `SUFFIX`: the model file's suffix it opens (`""` for one that opens a module, not a file);
- `LIBRARIES`: the modules its `open` imports, so that measuring a load can import them first;
- `open(model_file, inputs, outputs) -> Session`, where `inputs` and `outputs` name the tensors for formats that do not
  keep the names themselves (`None` when there is no manifest);
- where another runtime executes these files on systems that lack this one, `open_stand_in`, likewise;
- where artifacts may compute below fp32, `open_in_fp32`, likewise: the same program with every float tensor in fp32, and
  activations that it rounds to integers kept within their range alone.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from edgekit import python_files
from edgekit.errors import ArtifactError, Unsupported, UsageError

if TYPE_CHECKING:
    from edgekit import artifact

Array = npt.NDArray[Any]

REFERENCE = "reference interpreter"
"""Part of a runtime's name when it stands in for one that does not run here: its timings say nothing of the device."""


@dataclass(frozen=True)
class TensorSpec:
    """A tensor at a model's border: its name, its shape and its numpy dtype name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    max_shape: tuple[int, ...] | None = None
    """In the largest batch, where the batch is dynamic: an axis may then be as long as it is here. None: `shape` alone fits."""

    choices: tuple[tuple[range, ...], ...] = ()
    """The shapes it takes, by the sizes of their axes, where the model itself lists several or leaves sizes open; `shape` is
    then its usual one."""

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of `shape` fits."""
        if self.choices:
            return any(
                len(shape) == len(axes) and all(size in sizes for size, sizes in zip(shape, axes, strict=True))
                for axes in self.choices
            )
        if self.max_shape is None or len(shape) != len(self.shape):
            return shape == self.shape
        sizes = zip(shape, self.shape, self.max_shape, strict=True)
        return all(size == own or (own != most and 1 <= size <= most) for size, own, most in sizes)

    def __str__(self) -> str:
        if self.choices:
            return f"{self.dtype} {' or '.join(map(_shape, self.choices))}"
        if self.max_shape is None:
            return f"{self.dtype} {list(self.shape)}"
        sizes = (f"1 to {most}" if own != most else str(own) for own, most in zip(self.shape, self.max_shape, strict=True))
        return f"{self.dtype} [{', '.join(sizes)}]"


UNLIMITED = 2**31
"""Ends the range of an axis that may be of any length."""


def _shape(axes: Sequence[range]) -> str:
    """The shapes of which each axis has one of these sizes, in words."""
    sizes = (
        str(axis.start) if len(axis) == 1 else f"{axis.start} {'or more' if axis.stop >= UNLIMITED else f'to {axis[-1]}'}"
        for axis in axes
    )
    return f"[{', '.join(sizes)}]"


class Session(ABC):
    """A loaded model: `run` takes and gives numpy arrays by name."""

    runtime: str
    """The runtime's name and version, as measurements record it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    chooses_threads = False
    """Whether the runtime computes with as many threads as it likes, and cannot be told."""

    spinning: bool | None = None
    """Whether its threads spin while they wait; None where it cannot be told."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for `inputs`, each checked against its spec. Raises UsageError for a name, shape or dtype that
        does not fit."""
        arrays = [self._checked(spec, inputs) for spec in self.inputs]
        unknown = sorted(set(inputs) - {spec.name for spec in self.inputs})
        if unknown:
            raise UsageError(
                f"this model has no input named {', '.join(unknown)}",
                next_step=f"its inputs are {', '.join(spec.name for spec in self.inputs)}",
            )
        self._require_one_batch(arrays)
        return dict(zip((spec.name for spec in self.outputs), self.execute(arrays), strict=True))

    def _require_one_batch(self, arrays: Sequence[Array]) -> None:
        """Raise UsageError when inputs of a dynamic batch differ in it."""
        shared = {len(a): s.name for a, s in zip(arrays, self.inputs, strict=True) if s.max_shape and s.max_shape != s.shape}
        if len(shared) > 1:
            raise UsageError(
                "the inputs differ in their batch",
                cause=", ".join(f"{name} is a batch of {size}" for size, name in shared.items()),
                next_step="give every input the same batch",
            )

    @abstractmethod
    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs, in the order of `self.outputs`, for checked inputs in the order of `self.inputs`."""

    @abstractmethod
    def set_threads(self, count: int) -> None:
        """Compute with exactly `count` threads. Raises Unsupported when the runtime cannot be told."""

    def set_spinning(self, allowed: bool) -> None:
        """Let threads spin while they wait, or not. Raises Unsupported where the runtime cannot be told."""
        raise Unsupported(
            f"{self.runtime} cannot be told whether its threads spin",
            cause="only ONNX Runtime has that setting",
            next_step="leave --spinning and --no-spinning out",
        )

    def prepared(self, arrays: Sequence[Array]) -> Callable[[], Sequence[Any]]:
        """A run of these inputs, put where the runtime computes once and for all, whose outputs stay there: what is timed."""
        return functools.partial(self.execute, arrays)

    def use_gpu(self, index: int) -> None:
        """Compute on that GPU. Raises Unsupported where the runtime or the machine has none."""
        raise Unsupported(
            f"{self.runtime} does not compute on a GPU",
            cause="on cuda, edgekit measures PyTorch and ONNX artifacts",
            next_step="measure it on host, or export the model for onnx",
        )

    def clock(self) -> Callable[[], float]:
        """What `prepared` runs are timed with: seconds, once all that was asked for is done."""
        return time.perf_counter

    @property
    def gpu_peak_bytes(self) -> int | None:
        """Largest allocation on the GPU; None without one, and where the runtime does not tell."""
        return None

    def close(self) -> None:  # noqa: B027 - most runtimes have nothing to release
        """Release what the session holds."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _checked(spec: TensorSpec, inputs: Mapping[str, Array]) -> Array:
        if spec.name not in inputs:
            raise UsageError(f"input {spec.name!r} is missing", next_step=f"give an array of shape {list(spec.shape)}")
        array = np.asarray(inputs[spec.name], order="C")
        if not spec.takes(array.shape) or array.dtype != np.dtype(spec.dtype):
            raise UsageError(
                f"input {spec.name!r} does not fit this model",
                cause=f"it is {array.dtype} {list(array.shape)}; the model takes {spec}",
                next_step="preprocess it as the artifact's manifest says, or export for this input shape",
            )
        return array


def find(suffix: str) -> ModuleType:
    """The runtime that opens files of `suffix`. Raises ArtifactError when none does."""
    runtimes = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    for runtime in runtimes:
        if suffix and suffix == runtime.SUFFIX:
            return runtime
    known = ", ".join(sorted(runtime.SUFFIX for runtime in runtimes if runtime.SUFFIX))
    raise ArtifactError(f"no runtime opens {suffix or 'such'} files", next_step=f"give an artifact or one of {known}")


def own(subject: str | Path) -> tuple[ModuleType, Path] | None:
    """The user's own runtime and what it opens, for a subject `RUNTIME.py:MODEL`; None for any other subject.

    RUNTIME.py is a file with `LIBRARIES` and `open`, as those here; MODEL is the path of a file or a folder.
    """
    file, _, model = str(subject).rpartition(":")
    return (python_files.load(Path(file)), Path(model)) if file.endswith(".py") and Path(model).exists() else None


def open(subject: str | Path) -> Session:
    """The session of an artifact directory, of a bare model file, of a model's name (PyTorch eager), of
    `torch_compile:MODEL` or `torch_aotinductor:MODEL`, or of `RUNTIME.py:MODEL` (`own`).

    Raises ArtifactError for what is missing or damaged, UnknownName for a name that is no model's, and Unsupported when
    this machine cannot execute it.
    """
    path = Path(subject)
    if path.is_dir() and path.suffix != ".mlpackage":
        from edgekit import artifact

        loaded = artifact.load(path)
        model_file, manifest = loaded.model_file, loaded.manifest
        return cast(Session, find(model_file.suffix).open(model_file, *borders(manifest)))
    if path.exists():
        return cast(Session, find(path.suffix).open(path, None, None))
    if found := own(subject):
        runtime, model = found
        return cast(Session, runtime.open(model, None, None))
    runtime, name = of_module(str(subject))
    return cast(Session, runtime.open(name))


def of_module(subject: str) -> tuple[ModuleType, str]:
    """The runtime of a model that is no file, and the model's name: `torch_compile:lsnet_t`; eager for a name alone."""
    way, _, name = subject.partition(":")
    if name and way in {info.name for info in pkgutil.iter_modules(__path__)}:
        runtime = importlib.import_module(f"{__name__}.{way}")
        if not runtime.SUFFIX:
            return runtime, name
    return importlib.import_module(f"{__name__}.eager"), subject


def borders(manifest: artifact.Manifest) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and the outputs as a manifest tells them."""
    return _specs(manifest.inputs), _specs(manifest.outputs)


def _specs(tensors: Sequence[artifact.Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(tensor.name, tensor.shape, tensor.dtype, tensor.max_shape) for tensor in tensors)
