"""Core ML runs on Apple's systems; anywhere else that is said, with the way out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekit import runtimes
from edgekit.errors import Unsupported
from edgekit.runtimes import coreml

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="says what happens elsewhere")


def test_a_package_is_known_but_not_run(tmp_path: Path) -> None:
    assert runtimes.find(".mlpackage") is coreml
    (tmp_path / "model.mlpackage").mkdir()
    with pytest.raises(Unsupported, match="macOS and iOS only") as caught:
        runtimes.open(tmp_path / "model.mlpackage")
    assert caught.value.exit_code == 4
    assert sys.platform in caught.value.cause
    assert "on a Mac" in caught.value.next_step
