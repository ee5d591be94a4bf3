"""The document of rules is the code's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_SCRIPT = Path(__file__).parents[2] / "scripts" / "coreml_rules.py"


def test_the_document_is_current() -> None:
    spec = importlib.util.spec_from_file_location("coreml_rules", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.REPORT.read_text(encoding="utf-8") == script.render(), "run `python scripts/coreml_rules.py`"
