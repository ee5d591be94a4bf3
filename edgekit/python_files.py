"""Python files that are found by their path: a user's module, a runtime of their own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load(path: Path) -> ModuleType:
    """The module in the file at `path`, the file executed. Raises whatever executing it does."""
    spec = importlib.util.spec_from_file_location(f"edgekit_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that its classes can be found by name, as torch.export does
    spec.loader.exec_module(module)
    return module
