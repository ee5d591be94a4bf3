"""What heavy packages print does not reach the user, is not lost when they fail, and never mixes with the data."""

from __future__ import annotations

import ctypes
import os
import warnings

import pytest

from edgekit.quiet import quiet, stdout_kept_clean


def _make_noise() -> None:
    print("from Python")
    os.write(1, b"from C on 1\n")
    os.write(2, b"from C on 2\n")
    ctypes.CDLL(None).puts(b"from C's own buffer")
    ctypes.CDLL(None).fflush(None)
    warnings.warn("a warning", stacklevel=1)


def test_noise_from_python_and_c_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        _make_noise()
    print("after")
    assert capfd.readouterr() == ("after\n", "")


def test_noise_is_attached_to_the_exception_it_came_before(capfd: pytest.CaptureFixture[str]) -> None:
    def fail_noisily() -> None:
        _make_noise()
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken") as caught, quiet():
        fail_noisily()
    assert "from C on 2" in caught.value.__notes__[0]
    print("after")
    assert capfd.readouterr() == ("after\n", "")


def test_a_quiet_block_that_fails_without_noise_has_no_note() -> None:
    with pytest.raises(ValueError, match="broken") as caught, quiet():
        raise ValueError("broken")
    assert not hasattr(caught.value, "__notes__")


def test_what_a_user_s_code_prints_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with stdout_kept_clean():
        print("from Python")
        os.write(1, b"from C\n")
    print("after")
    captured = capfd.readouterr()
    assert captured.out == "before\nafter\n"
    assert "from C\n" in captured.err


def test_standard_output_comes_back_after_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"), stdout_kept_clean():
        raise ValueError("broken")
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"
