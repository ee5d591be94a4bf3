"""Results files of evaluations: a JSON list, as `edgekit evaluate --output` writes it and `gate` and `report` read it."""

from __future__ import annotations

import json
from pathlib import Path

from edgekit.evaluation.accuracy import Accuracy

_KEY = "top1_percent"
"""Every evaluation has it, and no measurement."""


def read(path: Path) -> list[Accuracy] | None:
    """The evaluations in a file; None where it holds none, or cannot be read: reading it as measurements then says why. Raises
    InputError for evaluations of another version."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not (isinstance(found, list) and found and all(isinstance(one, dict) and _KEY in one for one in found)):
        return None
    return [
        Accuracy.from_json(json.dumps(record), where=f"{path}, evaluation {number}") for number, record in enumerate(found, 1)
    ]
