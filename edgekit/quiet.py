"""Keeps the noise of heavy packages (untested-version warnings, missing optional libraries) away from users.

The noise comes from Python logging, `warnings` and C code alike, so it is caught where they all meet: file
descriptors 1 and 2. It is not lost: if the block raises, the error carries it.
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
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with tempfile.TemporaryFile() as held, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = os.dup(1), os.dup(2)
        os.dup2(held.fileno(), 1)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException as error:
            sys.stderr.flush()
            held.seek(0)
            noise = held.read().decode(errors="replace").strip()
            if noise:
                error.add_note(noise[-4000:])
            raise
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


@contextlib.contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Send what the block writes to standard output, a user's own prints included, to standard error: standard output is
    for what the command was asked for."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
