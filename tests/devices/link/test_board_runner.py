"""The runner that boards execute: edgekit's own modules, few of them, in a Python that boards have."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.devices.link import runner


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runner") / "runner.pyz"
    runner.pack(path)
    return path


def test_the_same_edgekit_makes_the_same_runner(packed: Path, tmp_path: Path) -> None:
    runner.pack(tmp_path / "again.pyz")
    assert (tmp_path / "again.pyz").read_bytes() == packed.read_bytes()
    assert packed.stat().st_size < 100_000


def _sources(packed: Path) -> dict[str, str]:
    with zipfile.ZipFile(packed) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.parametrize("name", ["__main__.py", *(f"edgekit/{name}.py" for name in runner.MODULES)])
def test_every_file_of_it_is_written_for_the_oldest_python(name: str, packed: Path) -> None:
    ast.parse(_sources(packed)[name], feature_version=runner.OLDEST_PYTHON)


@pytest.mark.parametrize("name", runner.MODULES)
def test_what_its_files_import_at_once_is_in_it_or_numpy_or_python_s_own(name: str, packed: Path) -> None:
    sources = _sources(packed)
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in sources}
    for module, names in _imported(ast.parse(sources[f"edgekit/{name}.py"]).body):
        top = module.partition(".")[0]
        if top == "edgekit":
            package_of_names = all(f"{module}.{one}" in modules for one in names)
            assert package_of_names or (module in modules and module not in ("edgekit", "edgekit.profiling")), (module, names)
        else:
            assert top in sys.stdlib_module_names or top == "numpy", module


def _imported(body: list[ast.stmt]) -> Iterator[tuple[str, list[str]]]:
    """Modules imported when a file is, with the names taken from each."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from ((one.name, []) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.module, [one.name for one in node.names]


def test_an_older_python_says_what_it_takes(packed: Path) -> None:
    main = _sources(packed)["__main__.py"]
    ast.parse(main, feature_version=(3, 4))
    program = f"import sys\nsys.version_info = (3, 8, 10)\nexec({main!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == runner.NO_PYTHON
    assert done.stderr == "Python 3.8 is too old: the runner takes 3.10 or newer\n"
