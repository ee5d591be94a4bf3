"""The table of operators in the documentation is the code's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from edgekit.runtimes.coreml_reference import ops

_SCRIPT = Path(__file__).parents[3] / "scripts" / "coreml_operators.py"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coreml_operators", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_current() -> None:
    script = _script()
    assert script.REPORT.read_text(encoding="utf-8") == script.render(), "run `python scripts/coreml_operators.py`"


def test_all_that_is_missing_is_left_out_for_a_reason() -> None:
    missing = {name for name, _, how in _script().known() if how.startswith("no")}
    assert missing == set(ops.LEFT_OUT)
