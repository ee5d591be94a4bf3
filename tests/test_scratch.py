"""Work under way has a folder of its own, and what a killed edgekit left is swept by the next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekit import scratch

_HOLD = """
import sys, time
from pathlib import Path
from edgekit import scratch
with scratch.folder(Path(sys.argv[1])) as made:
    (made / "half").write_text("written")
    print("ready", flush=True)
    time.sleep(600)
"""


def _holder(parent: Path) -> subprocess.Popen[str]:
    """A process that has a folder in `parent` and is busy with it."""
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(parent)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _left_in(parent: Path) -> list[Path]:
    return list(parent.iterdir())


def test_a_folder_is_gone_at_the_end(tmp_path: Path) -> None:
    with scratch.folder(tmp_path) as made:
        assert made.parent == tmp_path
        (made / "deep").mkdir()
        (made / "deep" / "file").write_text("x")
    assert _left_in(tmp_path) == []


def test_a_folder_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), scratch.folder(tmp_path):
        raise ValueError("broken")
    assert _left_in(tmp_path) == []


def test_the_next_run_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    with _holder(tmp_path) as process:
        process.kill()
    [leftover] = _left_in(tmp_path)
    assert (leftover / "half").is_file()
    with scratch.folder(tmp_path):
        assert not leftover.exists()
    assert _left_in(tmp_path) == []


def test_the_folder_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    with _holder(tmp_path) as process:
        try:
            [living] = _left_in(tmp_path)
            with scratch.folder(tmp_path):
                assert (living / "half").is_file()
            assert (living / "half").is_file()
        finally:
            process.kill()


def test_what_edgekit_did_not_make_is_never_swept(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / f"{scratch.PREFIX}notes.txt").write_text("a file, not a folder")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    (tmp_path / f"{scratch.PREFIX}link").symlink_to(outside)
    with scratch.folder(tmp_path):
        pass
    assert {path.name for path in _left_in(tmp_path)} == {"data", ".edgekit-notes.txt", "outside", ".edgekit-link"}
    assert (outside / "kept").is_file()


def test_an_impossible_parent_is_named_in_the_error(tmp_path: Path) -> None:
    parent = tmp_path / "file"
    parent.write_text("x")
    with pytest.raises(NotADirectoryError) as caught, scratch.folder(parent):
        pass
    assert caught.value.filename == str(parent)
