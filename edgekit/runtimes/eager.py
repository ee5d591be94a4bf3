"""PyTorch eager: the reference every artifact is compared with, and the baseline every latency is read against."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.errors import Unsupported
from edgekit.runtimes import Array, Session, TensorSpec

if TYPE_CHECKING:
    import torch

    from edgekit.sources import LoadedModel

    _Borders = tuple[torch.nn.Module, Mapping[str, torch.Tensor], Sequence[str]]

SUFFIX = ""
LIBRARIES = ("torch",)


class EagerSession(Session):
    """An `nn.Module` in eval mode. Its outputs are flat, as in an artifact."""

    way = "eager"
    """How PyTorch runs it."""
    _device = "cpu"

    def __init__(self, module: torch.nn.Module, inputs: Mapping[str, torch.Tensor], output_names: Sequence[str]) -> None:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode

        from edgekit import borders

        self.runtime = f"torch {torch.__version__} {self.way}"
        self._module = module.eval()
        by_place, by_name, order = borders.arguments(module, dict(inputs))
        self._keywords = list(by_name)
        self._example = [*by_place, *by_name.values()]
        self.inputs = tuple(_spec(name, inputs[name]) for name in order)
        with borders.state_kept(module), FakeTensorMode(allow_non_fake_inputs=True):  # shapes alone: the caller runs it first
            outputs = EagerSession._forward(self, self._example)
        self.outputs = tuple(_spec(name, tensor) for name, tensor in zip(output_names, outputs, strict=True))

    def _forward(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        import torch

        from edgekit import borders

        by_place, by_name = self._arguments(tensors)
        with torch.inference_mode():
            return borders.leaves(self._module(*by_place, **by_name))

    def _arguments(self, tensors: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        """Those that forward takes by place, and those by keyword."""
        places = len(tensors) - len(self._keywords)
        return list(tensors[:places]), dict(zip(self._keywords, tensors[places:], strict=True))

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        return [output.cpu().numpy() for output in self._forward(self._tensors(arrays))]

    def prepared(self, arrays: Sequence[Array]) -> Callable[[], Sequence[Any]]:
        return functools.partial(self._forward, self._tensors(arrays))

    def _tensors(self, arrays: Sequence[Array]) -> list[torch.Tensor]:
        import torch

        return [torch.from_numpy(array).to(self._device) for array in arrays]

    def use_gpu(self, index: int) -> None:
        import torch

        if not torch.cuda.is_available():
            raise Unsupported(
                "PyTorch finds no GPU here",
                cause=f"torch {torch.__version__} is built for {torch.version.cuda or 'CPUs alone'}",
                next_step="install a CUDA build of torch of the same version on a machine with an NVIDIA GPU",
            )
        self._device = f"cuda:{index}"
        torch.cuda.set_device(index)
        torch.cuda.reset_peak_memory_stats(index)
        self._module.to(self._device)
        self._example = [tensor.to(self._device) for tensor in self._example]
        tf32 = ", TF32 convolutions" if torch.backends.cudnn.allow_tf32 else ""
        self.runtime = f"{self.runtime} on CUDA {torch.version.cuda}{tf32}"

    def clock(self) -> Callable[[], float]:
        return time.perf_counter if self._device == "cpu" else _gpu_clock()

    @property
    def gpu_peak_bytes(self) -> int | None:
        """Largest allocation of PyTorch's on the GPU."""
        import torch

        return None if self._device == "cpu" else int(torch.cuda.max_memory_allocated(self._device))

    @property
    def macs(self) -> int:
        """Multiply-adds of one run. Counted by running once more, so not while timing."""
        from edgekit.program import count_macs

        return count_macs(lambda: self._forward(self._example))

    @property
    def weight_bytes(self) -> int:
        """Bytes of all parameters and buffers."""
        return sum(tensor.nbytes for tensor in self._module.state_dict().values())

    def set_threads(self, count: int) -> None:
        import torch

        torch.set_num_threads(count)


def _gpu_clock() -> Callable[[], float]:
    """Seconds on the GPU's own timeline, once it has finished what was asked of it: CUDA events. An event's time is a float32
    of milliseconds, so each reading counts from the one before it."""
    import torch

    event: Callable[..., Any] = torch.cuda.Event
    last, seconds = event(enable_timing=True), 0.0
    last.record()

    def read() -> float:
        nonlocal last, seconds
        now = event(enable_timing=True)
        now.record()
        now.synchronize()
        seconds += float(last.elapsed_time(now)) / 1e3
        last = now
        return seconds

    return read


def _spec(name: str, tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def open(model: str) -> Session:
    """The session of a model's name (`lsnet_t`) or `file.py:factory` recipe, with the weights an export would give it."""
    return EagerSession(*load(model))


def session(loaded: LoadedModel) -> EagerSession:
    """The session of a model that is loaded."""
    return EagerSession(*_borders(loaded))


def load(model: str) -> _Borders:
    """The module, its example inputs, and the names of its outputs."""
    from edgekit import recipe, sources

    return _borders(sources.load(recipe.from_request(model=model, target="onnx")))


def _borders(loaded: LoadedModel) -> _Borders:
    from edgekit.program import capture

    names = loaded.output_names or capture(loaded.module, loaded.inputs).functions["forward"].output_names
    return loaded.module, loaded.inputs, names
