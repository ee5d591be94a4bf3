"""`torch.compile` with its usual settings: `torch_compile:lsnet_t`. The first run compiles."""

from __future__ import annotations

from edgekit.runtimes import eager

SUFFIX = ""
LIBRARIES = ("torch", "torch._inductor.compile_fx")


class CompiledSession(eager.EagerSession):
    """A module compiled by inductor."""

    way = "compile"

    def compile(self) -> None:
        """Have the first run compile."""
        import torch
        from torch._inductor.decomposition import register_decomposition

        from edgekit.ops.ska import definition

        register_decomposition([torch.ops.edgekit.ska.default])(definition)  # so that inductor sees inside
        self._module.compile()


def open(model: str) -> eager.EagerSession:
    """The compiled session of a model's name (`lsnet_t`) or `file.py:factory`."""
    session = CompiledSession(*eager.load(model))
    session.compile()
    return session
