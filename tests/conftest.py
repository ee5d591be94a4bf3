"""What every test shares: a cache of its own, few threads, hypothesis in a repeatable mode, a tiny model, measurements."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from commands import Command, Done

import edgekit
from edgekit.profiling import roofline
from edgekit.profiling.measurement import Conditions, Fingerprint, Measurement, Memory, Model, Process
from edgekit.profiling.summary import summarize
from edgekit.recipe import Recipe

hypothesis.settings.register_profile("edgekit", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("edgekit")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never read or write the user's cache."""
    before = os.environ.get("EDGEKIT_CACHE")
    os.environ["EDGEKIT_CACHE"] = str(tmp_path_factory.mktemp("edgekit_cache"))
    yield
    if before is None:
        del os.environ["EDGEKIT_CACHE"]
    else:
        os.environ["EDGEKIT_CACHE"] = before


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    """The suite runs in parallel processes: one must not take every core."""
    import torch

    torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    """What a fixture draws, weights above all, is the same each time, whatever came before it."""
    import torch

    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """And what a test draws."""
    import torch

    torch.manual_seed(0)


TINY = """
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))


def build():
    torch.manual_seed(0)
    return Tiny()
"""


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements that nobody gave a duration are as short as they can be: two processes, five blocks."""
    monkeypatch.setattr("edgekit.profiling.settings.BURST_S", 0.2)
    monkeypatch.setattr("edgekit.profiling.plan._BLOCK_S", 0.02)


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own model, in a folder whose name holds a space and an umlaut."""
    path = tmp_path_factory.mktemp("häuschen am see") / "tiny.py"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_artifact(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its ONNX artifact. Only to be read: `artifact_copy` is there to be damaged."""
    output = tmp_path_factory.mktemp("arte facts")
    return edgekit.export(f"{tiny_file}:build", "onnx", input_shapes=((1, 3, 32, 32),), output=output).directory


@pytest.fixture
def artifact_copy(tiny_artifact: Path, tmp_path: Path) -> Path:
    """A copy of the artifact, to damage."""
    return Path(shutil.copytree(tiny_artifact, tmp_path / tiny_artifact.name))


@pytest.fixture
def lowered(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lowering gives the tiny model at once, whatever it is asked to lower; all the rest is as it is, but that the worker
    has no converter to import."""
    from edgekit import pipeline
    from edgekit.targets import onnx

    def copy(worker: object, program: object, target: str, profile: object, work: Path) -> list[Path]:
        (work / "artifact").mkdir()
        return [Path(shutil.copy(tiny_artifact / "model.onnx", work / "artifact"))]

    monkeypatch.setattr(pipeline, "_lowered", copy)
    monkeypatch.setattr(onnx, "REQUIRES", ())


@pytest.fixture
def recipe(tiny_file: Path, tiny_artifact: Path) -> Recipe:
    """The request that `tiny_artifact` answers."""
    return Recipe(model=f"{tiny_file}:build", target="onnx", input_shapes=((1, 3, 32, 32),))


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "own cache"))
    return tmp_path / "own cache"


@pytest.fixture(name="edgekit")
def _edgekit(capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process."""
    from edgekit import cli

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        code = cli._run([str(argument) for argument in arguments])
        return Done(code, *capfd.readouterr())

    return run


def _process(latency_s: Sequence[float], **changes: Any) -> Process:
    fields: dict[str, Any] = {
        "latency_s": tuple(latency_s),
        "block_runs": (len(latency_s),),
        "warmup_runs": 9,
        "warmup_s": 0.3,
        "steady": True,
        "load_s": 0.1,
        "load_was_cold": True,
        "first_run_s": 0.02,
        "waited_share": 0.0,
        "memory": Memory(run_peak_bytes=50_000_000, process_peak_bytes=90_000_000),
        "cores": (1,),
    }
    return Process(**{**fields, **changes})


@pytest.fixture
def process() -> Callable[..., Process]:
    """A process with these latencies, and any field changed."""
    return _process


@pytest.fixture
def measurement() -> Callable[..., Measurement]:
    """A measurement of processes (two of 20 runs of 10 ms unless given). Fields of its model, fingerprint and conditions are
    given by their names, as are `peak` and anything else that `summarize` takes."""

    def build(processes: Sequence[Process] | None = None, **changes: Any) -> Measurement:
        given = {"subject": "net.onnx", "job": "a", "started_at": "2026-01-01T00:00:00+00:00", **changes}
        peak = given.pop("peak", roofline.Peak(macs_per_s=5e10, bytes_per_s=2e10, calm=True))
        model, fingerprint, conditions = (_changed(record, given) for record in (_MODEL, _FINGERPRINT, _CONDITIONS))
        samples = processes or [_process([0.01] * 20)] * 2
        floor = roofline.floor(
            macs=model.macs,
            model_bytes=model.size_bytes,
            io_bytes=0,
            precision=model.precision,
            latency_s=samples[0].latency_s[0],
            peak=peak,
        )
        facts = {"fingerprint": fingerprint, "conditions": conditions, "floor": floor}
        return summarize(given.pop("subject"), model, samples, **{**facts, **given})

    return build


_MODEL = Model(name="net", target="onnx", sha256="ab" * 32, size_bytes=10**6, macs=10**8)
_FINGERPRINT = Fingerprint(
    device="host",
    hardware="Processor 1",
    os="Linux 6 x86_64",
    cpu="Processor 1",
    cpu_flags=("avx2",),
    cores=2,
    gpu=None,
    threads=1,
    runtime="onnxruntime 1",
    edgekit="0.1.0",
)
_CONDITIONS = Conditions(inputs="standard normal")


def _changed(record: Any, changes: dict[str, Any]) -> Any:
    """`record` with those of `changes` that are its fields, which are taken out of `changes`."""
    mine = {field.name: changes.pop(field.name) for field in dataclasses.fields(record) if field.name in changes}
    return dataclasses.replace(record, **mine)
