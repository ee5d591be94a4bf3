"""`torch.compile` as it comes, with inductor, its code kept between processes as inductor itself keeps it. Its slower settings
(freezing, max-autotune) are in `torch_aotinductor.py`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgekit.ops.ska import definition
from edgekit.runtimes import Session, TensorSpec, eager

if TYPE_CHECKING:
    from rival import Source

VARIANTS: dict[str, dict[str, Any]] = {"torch.compile": {}}
REQUIRES = ("torch",)
LIBRARIES = ("torch", "torch._inductor.compile_fx")


def convert(source: Source, folder: Path) -> None:
    """Compile once, so that later processes find the code."""
    torch.save((source.module, source.inputs, source.output_names), folder / "module.pt")
    with open(folder, None, None) as session:
        session.set_threads(1)
        session.execute([tensor.numpy() for tensor in source.inputs.values()])


def open(folder: Path, inputs: Sequence[TensorSpec] | None, outputs: Sequence[TensorSpec] | None) -> Session:
    """The compiled module; its first run compiles, or finds the code in `folder`."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder.resolve() / "inductor")
    import torch._inductor.config as config
    from torch._inductor.decomposition import register_decomposition

    register_decomposition([torch.ops.edgekit.ska.default])(definition)  # as a user's own copy of LSNet would have it
    config.compile_threads = 1
    module, example, output_names = torch.load(folder / "module.pt", weights_only=False)
    session = eager.EagerSession(module, example, output_names)
    module.compile()
    session.runtime = f"torch {torch.__version__} compile"
    return session
