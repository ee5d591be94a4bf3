"""Where computing as declared loses what fp32 keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgekit.runtimes import Array
from edgekit.runtimes.coreml_reference import package
from edgekit.runtimes.coreml_reference.interpreter import Program
from edgekit.runtimes.coreml_reference.package import Operation


def first(model_file: Path, inputs: Mapping[str, Array], bound_sqnr_db: float) -> str:
    """Names the first operation whose result is not finite, or is further from fp32's than the bound allows, when every
    tensor is rounded to its declared type. Empty when there is none."""
    function = package.load(model_file)
    tensors = {name: torch.from_numpy(np.atleast_1d(array)) for name, array in inputs.items()}
    exact: dict[str, Tensor] = {}
    found: list[str] = []

    def keep(operation: Operation, name: str, value: Tensor) -> None:
        exact[name] = value

    def judge(operation: Operation, name: str, value: Tensor) -> None:
        reference = exact.pop(name)
        if not found and value.is_floating_point() and (said := _said(reference, value, bound_sqnr_db)):
            found.append(f"{operation.operator} at {name} {said}")

    Program(function, "fp32").run(tensors, keep)
    Program(function, "declared").run(tensors, judge)
    return found[0] if found else ""


def _said(exact: Tensor, declared: Tensor, bound_sqnr_db: float) -> str:
    """What became of a result; empty when it is near enough."""
    from edgekit.parity import sqnr_db

    if not exact.numel() or not bool(exact.isfinite().all()):
        return ""
    largest = float(exact.abs().max())
    lost = int((~declared.isfinite()).sum())
    if lost:
        return f"has {lost} of {exact.numel()} values beyond what its type holds: up to {largest:.4g} in fp32"
    reached = sqnr_db(exact.numpy(), declared.numpy())
    if reached >= bound_sqnr_db:
        return ""
    vanished = int(((declared == 0) & (exact != 0)).sum())
    return f"is {reached:.1f} dB from fp32, its values up to {largest:.4g}, {vanished} of {exact.numel()} rounded to zero"
