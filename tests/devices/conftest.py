"""What stands for a board: an OpenSSH server on loopback, and Pythons that have little."""

from __future__ import annotations

import os
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sshd


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    if sshd.MISSING:
        pytest.skip(sshd.MISSING)
    started = sshd.Server(tmp_path_factory.mktemp("sshd"))
    yield started
    started.stop()


@pytest.fixture
def board(server: sshd.Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[sshd.Server]:
    """The server as it is at first, its client on PATH; afterwards nothing is left there."""
    monkeypatch.setenv("PATH", f"{server.bin}{os.pathsep}{os.environ['PATH']}")
    server.configure()
    server.know(server.folder / "host_key.pub")
    yield server
    sshd.until(lambda: not list(server.temporary.iterdir()))


@pytest.fixture(scope="session")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The Python of an environment that has these packages alone."""

    def made(*packages: str) -> Path:
        folder = tmp_path_factory.mktemp("board")
        venv.create(folder, with_pip=False, symlinks=True)
        [there] = folder.glob("lib/python*/site-packages")
        here = Path(np.__file__).parent.parent
        for path in here.iterdir():
            if path.name.removesuffix(".libs") in packages:
                (there / path.name).symlink_to(path)
        return folder / "bin" / "python"

    return made


@pytest.fixture(scope="session")
def bare(pythons: Callable[..., Path]) -> Path:
    """What a board needs for ONNX artifacts, and nothing else."""
    return pythons("numpy", "onnxruntime")
