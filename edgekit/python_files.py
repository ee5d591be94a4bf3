"""Python files that are found by their path: a user's module, a runtime of their own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import CodeType, ModuleType


def load(path: Path) -> ModuleType:
    """The module in the file at `path`, the file executed. Raises SyntaxError, or whatever executing it does."""
    spec = importlib.util.spec_from_file_location(f"edgekit_user_{path.stem}", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that its classes can be found by name, as torch.export does
    exec(_compiled(path), vars(module))
    return module


def _compiled(path: Path) -> CodeType:
    """From the source, never from Python's cache of it: that takes an edit of equal length within a second for no edit."""
    try:
        return compile(path.read_bytes(), str(path), "exec")
    except ValueError as error:  # null bytes, before Python 3.11.4
        raise SyntaxError(str(error)) from error
