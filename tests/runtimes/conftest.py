"""The tests of Core ML's runtimes share small helpers that lie among the interpreter's."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "coreml_reference"))
