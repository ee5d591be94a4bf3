"""States: tensors that outlive a run, such as a key-value cache."""

from __future__ import annotations

from torch import Tensor

from edgekit.runtimes.coreml_reference.ops import State


def read_state(input: State) -> Tensor:
    return input.value


def write_state(input: State, data: Tensor) -> list[Tensor]:
    """What coremltools calls `coreml_update_state`; a package holds it as this write and a read."""
    input.value = data
    return []
