"""What a model's file tells without being run: weights, planned memory, operators, what a delegate takes.

Reading it can take seconds (ExecuTorch's reader imports its whole export stack), so it is read once and cached by the file's
hash.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgekit import cache
from edgekit.errors import EdgekitError
from edgekit.profiling.measurement import Model


@dataclasses.dataclass(frozen=True)
class _Read:
    weight_bytes: int | None = None
    arena_bytes: int | None = None
    operators: int | None = None
    delegated_fraction: float | None = None


def completed(model: Model, model_file: Path) -> Model:
    """`model` with what its file tells. What it does not tell stays null."""
    import edgekit
    from edgekit.inspection import FORMATS

    if model.sha256 is None or model_file.suffix not in FORMATS:
        return model
    kept = cache.folder() / "static" / f"{model.sha256}-{edgekit.__version__}.json"
    try:
        read = TypeAdapter(_Read).validate_json(kept.read_bytes())
    except (OSError, ValidationError):
        read = _read(model_file)
        cache.keep_small(kept, dataclasses.asdict(read))
    return dataclasses.replace(model, **dataclasses.asdict(read))


def _read(model_file: Path) -> _Read:
    from edgekit import inspection

    try:
        report = inspection.inspect(model_file)
    except EdgekitError:
        return _Read()  # a file may run although edgekit cannot take it apart
    return _Read(
        weight_bytes=report.weights_bytes,
        arena_bytes=report.memory.activations_bytes if report.memory else None,
        operators=sum(report.operators.values()),
        delegated_fraction=report.delegation.share if report.delegation else None,
    )
