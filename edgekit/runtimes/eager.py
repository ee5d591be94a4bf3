"""PyTorch eager: the reference every artifact is compared with, and the baseline every latency is read against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.runtimes import Array, Session, TensorSpec

if TYPE_CHECKING:
    import torch

SUFFIX = ""
LIBRARIES = ("torch",)


class EagerSession(Session):
    """An `nn.Module` in eval mode. Its outputs are flat, as in an artifact."""

    def __init__(self, module: torch.nn.Module, inputs: Mapping[str, torch.Tensor], output_names: Sequence[str]) -> None:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode

        from edgekit import borders

        self.runtime = f"torch {torch.__version__} eager"
        self._module = module.eval()
        by_place, by_name, order = borders.arguments(module, dict(inputs))
        self._keywords = list(by_name)
        self._example = [*by_place, *by_name.values()]
        self.inputs = tuple(_spec(name, inputs[name]) for name in order)
        with borders.state_kept(module), FakeTensorMode(allow_non_fake_inputs=True):  # shapes alone: the caller runs it first
            outputs = self._forward(self._example)
        self.outputs = tuple(_spec(name, tensor) for name, tensor in zip(output_names, outputs, strict=True))

    def _forward(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        import torch

        from edgekit import borders

        places = len(tensors) - len(self._keywords)
        with torch.inference_mode():
            return borders.leaves(self._module(*tensors[:places], **dict(zip(self._keywords, tensors[places:], strict=True))))

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        import torch

        return [output.numpy() for output in self._forward([torch.from_numpy(array) for array in arrays])]

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


def _spec(name: str, tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def open(model: str) -> Session:
    """The session of a model's name (`lsnet_t`) or `file.py:factory` recipe, with the weights an export would give it."""
    from edgekit import recipe, sources
    from edgekit.program import capture

    asked = recipe.from_request(model=model, target="onnx")
    loaded = sources.load(asked)
    names = loaded.output_names or capture(loaded.module, loaded.inputs).functions["forward"].output_names
    return EagerSession(loaded.module, loaded.inputs, names)
