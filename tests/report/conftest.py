"""A report with something in every section."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from evaluations import accuracy, beside, layers
from synthetic_measurements import ODD, everything, past

from edgekit import report
from edgekit.evaluation.accuracy import Accuracy
from edgekit.profiling import results
from edgekit.profiling.measurement import Estimate, Measurement, Model
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


def evaluations() -> list[Accuracy]:
    """A reference, what lost and what did not, and one under a name to be escaped."""
    return [
        accuracy("lsnet_t", None, model=Model("lsnet_t", "eager")),
        *(
            accuracy(name, beside(drop), model=Model("lsnet_t", target, sha256=name), sensitivity=found)
            for name, target, drop, found in (
                (
                    "artifacts/lsnet_t-int8-onnx",
                    "onnx",
                    Estimate(0.05, -0.1, 0.21),
                    layers(*(f"blocks.{i}.conv" for i in range(30))),
                ),
                ("artifacts/lsnet_t-int4-executorch", "executorch", Estimate(0.9, 0.6, 1.2), None),
                (
                    ODD,
                    "coreml",
                    Estimate(-0.4, -0.7, -0.1),
                    layers("", ODD, "a.very.long.path.of.modules.in.a.model.of.many.parts"),
                ),
            )
        ),
    ]


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A results file with everything, and a folder of past ones."""
    folder = tmp_path_factory.mktemp("results")
    results.write(folder / "now.json", everything())
    results.write(folder / "accuracy.json", evaluations())
    (folder / "past").mkdir()
    for name, measurements in past().items():
        results.write(folder / "past" / name, measurements)
    return [folder / "now.json", folder / "accuracy.json", folder / "past"]


@pytest.fixture(scope="session")
def collection(given: list[Path]) -> Collection:
    """What was given, read."""
    return report.read(given)


@pytest.fixture(scope="session")
def written(given: list[Path], tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    """The report of everything."""
    return report.write(given, tmp_path_factory.mktemp("out") / "report")
