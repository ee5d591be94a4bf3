"""A pytest plugin: coremltools' own tests, which compare predictions on a Mac alone, compare the reference interpreter's.

Of each parametrized test a fixed sample of the cases runs.
"""

from __future__ import annotations

import collections
import zlib
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import pytest
from coremltools.converters.mil import testing_utils
from coremltools.models import utils

from edgekit.errors import EdgekitError
from edgekit.runtimes import coreml_reference

_STATES: dict[int, coreml_reference.CoreMLReferenceSession] = {}


def _predict(self: Any, data: dict[str, Any], state: Any = None) -> dict[str, Any]:
    if self.package_path is None:
        pytest.skip("not an ML program")
    path = Path(self.package_path)
    session = _STATES[id(state)] if state is not None else coreml_reference.open(path)
    inputs = {}
    for spec in session.inputs:
        inputs[spec.name] = np.asarray(data[spec.name]).astype(spec.dtype)
    try:
        return session.run(inputs)
    except EdgekitError as error:
        raise RuntimeError(str(error)) from error  # as Core ML's own errors arrive


def _make_state(self: Any) -> object:
    state = object()
    _STATES[id(state)] = coreml_reference.open(Path(self.package_path))
    _STATES[id(_STATES[id(state)])] = state  # kept, so that its id is not given again
    return state


coremltools.models.MLModel.predict = _predict
coremltools.models.MLModel.make_state = _make_state
testing_utils._IS_MACOS = True
utils._macos_version = lambda: (15, 0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--deselect-matching", action="append", default=[], help="leave out tests whose ids hold this")
    parser.addoption("--cases", type=int, default=1, help="of each test")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = config.getoption("--deselect-matching")
    kept: dict[str, int] = collections.Counter()
    chosen = []
    for item in sorted(items, key=lambda item: zlib.crc32(item.nodeid.split("/ops/tests/")[-1].encode())):
        test = item.nodeid.split("[")[0]
        if kept[test] < config.getoption("--cases") and not any(words in item.nodeid for words in left_out):
            kept[test] += 1
            chosen.append(item)
    items[:] = sorted(chosen, key=lambda item: item.nodeid)
