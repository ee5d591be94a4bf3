"""A report with something in every section."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from synthetic_measurements import everything, past

from edgekit import report
from edgekit.profiling import results
from edgekit.profiling.measurement import Measurement
from edgekit.report.collection import Collection


@pytest.fixture
def write_results(tmp_path: Path) -> Callable[..., Path]:
    """Writes a results file."""

    def write(measurements: Sequence[Measurement], name: str = "results.json") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        results.write(path, measurements)
        return path

    return write


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A results file with everything, and a folder of past ones."""
    folder = tmp_path_factory.mktemp("results")
    results.write(folder / "now.json", everything())
    (folder / "past").mkdir()
    for name, measurements in past().items():
        results.write(folder / "past" / name, measurements)
    return [folder / "now.json", folder / "past"]


@pytest.fixture(scope="session")
def collection(given: list[Path]) -> Collection:
    """What was given, read."""
    return report.read(given)


@pytest.fixture(scope="session")
def written(given: list[Path], tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    """The report of everything."""
    return report.write(given, tmp_path_factory.mktemp("out") / "report")
