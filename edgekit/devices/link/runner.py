"""The runner: what a board executes that has no edgekit, one file of edgekit's own modules (a zipapp) around the worker.

It takes Python 3.10 or newer, numpy, and the runtime of the model.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

import edgekit
from edgekit.runtimes import executorch, onnxruntime

MODULES: Final = (
    "errors",
    "metrics",
    "python_files",
    "quiet",
    "reference_inputs",
    "runtimes/__init__",
    "runtimes/executorch",
    "runtimes/onnxruntime",
    "profiling/machine",
    "profiling/peak",
    "profiling/timing",
    "profiling/traces",
    "profiling/worker",
)
SUFFIXES: Final = (onnxruntime.SUFFIX, executorch.SUFFIX)
"""Of the model files that it opens."""
OLDEST_PYTHON: Final = (3, 10)
OLDEST: Final = ".".join(map(str, OLDEST_PYTHON))
NO_PYTHON: Final = 126
"""How it ends by a Python that cannot run it: as a shell does, when a file is there and cannot be executed."""

_MAIN = f"""\
import sys

if sys.version_info < {OLDEST_PYTHON}:  # an older Python may not even parse what is imported next
    sys.stderr.write("Python %d.%d is too old: the runner takes {OLDEST} or newer\\n" % sys.version_info[:2])
    sys.exit({NO_PYTHON})

from edgekit.profiling.worker import main

main()
"""


def pack(path: Path) -> None:
    """Write the runner to `path`: the same bytes for the same edgekit."""
    source = Path(edgekit.__file__).parent
    texts = {f"edgekit/{name}.py": (source / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    empty = {"edgekit/__init__.py": "", "edgekit/profiling/__init__.py": ""}
    with zipfile.ZipFile(path, "w") as archive:  # not compressed: some boards' Python was built without zlib
        for name, text in {"__main__.py": _MAIN, **empty, **texts}.items():
            archive.writestr(zipfile.ZipInfo(name), text)
