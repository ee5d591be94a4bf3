"""coremltools' own tests of every operator, whose predictions only a Mac compares otherwise (`mac.py`)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import coremltools
import pytest

_TESTS = Path(coremltools.__file__).parent / "converters/mil/mil/ops/tests"

_NOT = (
    "test_random",  # not executed: random numbers
    "invalid_indices",  # asks for Core ML's own words, or for what it does with an index that is out of bounds
    "efficient_type_inference",  # times coremltools itself
    "iOS15/test_image_resizing.py::TestCropResize::test_builder_to_backend_smoke",  # its normalized box lies outside [0, 1]
)
_ENOUGH = 250
"""Cases that must have run: some skip themselves, but a test that runs none proves nothing."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML itself runs them there")
def test_the_interpreter_passes_apple_s_cases(tmp_path: Path) -> None:
    left_out = [option for name in _NOT for option in ("--deselect-matching", name)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "mac", "-p", "no:cacheprovider", "-q", "--tb=line", *left_out, str(_TESTS)],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]), "PYMIL_TEST_TARGETS": "mlprogram"},
        capture_output=True,
        text=True,
        check=False,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, "\n".join(line for line in done.stdout.splitlines() if line.startswith("FAILED"))
    assert passed is not None
    assert int(passed[1]) > _ENOUGH
