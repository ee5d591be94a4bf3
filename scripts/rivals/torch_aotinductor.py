"""AOTInductor: `torch.compile`'s code, compiled ahead with the weights frozen into it (inductor keeps frozen code in no cache,
so that `torch.compile` with freezing compiles anew in every process)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgekit.runtimes import Array, Session, TensorSpec

if TYPE_CHECKING:
    from rival import Source

VARIANTS: dict[str, dict[str, Any]] = {
    "AOTInductor, freezing": {"max_autotune": False},
    "AOTInductor, freezing, max-autotune": {"max_autotune": True},
}
REQUIRES = ("torch",)
LIBRARIES = ("torch", "torch._inductor")


def convert(source: Source, folder: Path, *, max_autotune: bool) -> None:
    """Compile ahead."""
    from torch._inductor import aoti_compile_and_package

    settings = {"freezing": True, "max_autotune": max_autotune, "compile_threads": 1}
    with torch.no_grad():
        aoti_compile_and_package(source.program, package_path=str(folder / "model.pt2"), inductor_configs=settings)
    torch.save((source.inputs, source.output_names), folder / "borders.pt")


class _Package(Session):
    """A compiled package."""

    def __init__(self, folder: Path) -> None:
        from torch._inductor import aoti_load_package

        inputs, output_names = torch.load(folder / "borders.pt")
        self._model = aoti_load_package(str(folder / "model.pt2"))
        self.runtime = f"torch {torch.__version__} AOTInductor"
        self.inputs = tuple(TensorSpec(name, tuple(tensor.shape), "float32") for name, tensor in inputs.items())
        self.outputs = tuple(TensorSpec(name, (), "float32") for name in output_names)

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        with torch.inference_mode():
            found = self._model(*(torch.from_numpy(array) for array in arrays))
        return [tensor.numpy() for tensor in torch.utils._pytree.tree_leaves(found)]

    def set_threads(self, count: int) -> None:
        torch.set_num_threads(count)


def open(folder: Path, inputs: Sequence[TensorSpec] | None, outputs: Sequence[TensorSpec] | None) -> Session:
    """The loaded package."""
    return _Package(folder)
