"""AOTInductor: a module compiled ahead by inductor with its weights frozen into the code, as `torch_aotinductor:lsnet_t`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgekit.runtimes import eager

SUFFIX = ""
LIBRARIES = ("torch", "torch._inductor")


class AotSession(eager.EagerSession):
    """A compiled package, made at its first run, when it is known for what device."""

    way = "AOTInductor, freezing"
    _package: Callable[..., Any] | None = None

    def _forward(self, tensors: list[Any]) -> list[Any]:
        import torch

        from edgekit import borders

        by_place, by_name = self._arguments(tensors)
        if self._package is None:
            self._package = self._compiled(by_place, by_name)
        with torch.inference_mode():
            return borders.leaves(self._package(*by_place, **by_name))

    def _compiled(self, by_place: Sequence[Any], by_name: dict[str, Any]) -> Callable[..., Any]:
        import torch
        from torch._inductor import aoti_compile_and_package, aoti_load_package

        from edgekit.ops.ska import definition

        with torch.no_grad(), tempfile.TemporaryDirectory(prefix="edgekit-aotinductor-") as folder:
            program = torch.export.export(self._module, tuple(by_place), by_name)
            program = program.run_decompositions({torch.ops.edgekit.ska.default: definition})
            package = str(Path(folder) / "model.pt2")
            aoti_compile_and_package(program, package_path=package, inductor_configs={"freezing": True})
            loaded: Callable[..., Any] = aoti_load_package(package)
        return loaded


def open(model: str) -> eager.EagerSession:
    """The session of a model's name (`lsnet_t`) or `file.py:factory`; its first run compiles."""
    return AotSession(*eager.load(model))
