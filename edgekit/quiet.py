"""Keeps the noise of heavy packages (untested-version warnings, missing optional libraries) away from users, and everybody's
prints away from the data that a command writes to standard output.

The noise comes from Python logging, `warnings` and C code alike, so it is caught where they meet: at file descriptors 1 and
2, and at `sys.stdout` and `sys.stderr`, which a notebook or a test may have led elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what the block writes to standard output and error; on an exception attach it as a note."""
    with tempfile.TemporaryFile() as held, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with (
                _descriptors_to(held.fileno(), 1, 2),
                os.fdopen(os.dup(held.fileno()), "w") as text,
                contextlib.redirect_stdout(text),
                contextlib.redirect_stderr(text),
            ):
                yield
        except BaseException as error:
            held.seek(0)
            noise = held.read().decode(errors="replace").strip()
            if noise and hasattr(error, "add_note"):  # a board's Python may be older
                error.add_note(noise[-4000:])
            raise


@contextlib.contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Send what the block writes to standard output, a user's own prints included, to standard error: standard output is
    for what the command was asked for."""
    with _descriptors_to(2, 1), contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def _descriptors_to(destination: int, *descriptors: int) -> Iterator[None]:
    """Make `descriptors` write where `destination` does. What Python has buffered goes where it was meant to."""
    _flush()
    saved = [os.dup(descriptor) for descriptor in descriptors]
    for descriptor in descriptors:
        os.dup2(destination, descriptor)
    try:
        yield
    finally:
        _flush()
        for descriptor, original in zip(descriptors, saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a full disk behind one of them is not this block's business
            stream.flush()
