"""Core ML on a Mac, as far as no Mac is needed: coremltools' own `MLModel`, and in place of Apple's library what keeps its
contract, arrays by name in and out, float32 and int32 of rank 1 at least. Unverified on hardware.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import programs
import pytest
from commands import Command
from coremltools.converters import mil
from coremltools.converters.mil.mil import types
from coremltools.models import model as coremltools_model

from edgekit import api, runtimes
from edgekit.errors import ArtifactError, Unsupported, UsageError
from edgekit.runtimes import coreml, coreml_reference

pytestmark = pytest.mark.slow

mb = mil.Builder
_X = np.random.default_rng(0).standard_normal((1, 3, 4, 4)).astype(np.float32)


class Library:
    """In place of `libcoremlpython`'s proxy of an MLModel: the reference interpreter computes."""

    newest_version = 9
    fails_to_compile = fails_to_run = ""
    error = 0.0

    def __init__(self, path: str, *_: object) -> None:
        if self.fails_to_compile:
            raise RuntimeError(self.fails_to_compile)
        self._path = Path(path)
        self._session = coreml_reference.open(self._path)

    @classmethod
    def maximum_supported_specification_version(cls) -> int:
        return cls.newest_version

    def get_compiled_model_path(self) -> str:
        return str(self._path.with_suffix(".mlmodelc"))

    def newState(self) -> object:  # noqa: N802 - Apple's name
        return self

    def predict(self, given: dict[str, Any], state: object) -> dict[str, Any]:
        if self.fails_to_run:
            raise RuntimeError(self.fails_to_run)
        assert all(array.dtype in (np.float32, np.int32) and array.ndim for array in given.values())
        session = self._session if state is self else coreml_reference.open(self._path)
        found = session.run({spec.name: given[spec.name].astype(spec.dtype) for spec in session.inputs})
        return {name: np.atleast_1d(array) * (1 + self.error) for name, array in reversed(found.items())}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> type[Library]:
    class Own(Library):
        pass

    monkeypatch.setattr(coremltools_model, "_MLModelProxy", Own)
    monkeypatch.setattr(coremltools_model, "_macos_version", lambda: (15, 0))
    monkeypatch.setattr(sys, "platform", "darwin")
    return Own


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two outputs, and an input of whole numbers."""

    def build(x: Any, number: Any) -> Any:
        doubled = mb.mul(x=x, y=np.float32(2), name="doubled")
        return doubled, mb.add(x=number, y=np.int32(1), name="next")

    given = {"x": _X, "number": np.int32([3])}
    return programs.save(build, tmp_path_factory.mktemp("mac") / "two.mlpackage", given)


def test_arrays_go_in_and_out_by_name_with_their_dtypes(library: type[Library], package: Path) -> None:
    session = runtimes.open(package)
    assert isinstance(session, coreml.CoreMLSession)
    assert session.runtime == f"coreml (coremltools {coremltools.__version__})"
    assert [(s.name, s.shape, s.dtype) for s in session.inputs] == [("x", (1, 3, 4, 4), "float32"), ("number", (1,), "int32")]
    found = session.run({"x": _X, "number": np.int32([3])})
    np.testing.assert_array_equal(found["doubled"], 2 * _X)
    assert found["next"].dtype == np.int32
    assert found["next"].tolist() == [4]
    with pytest.raises(UsageError, match="input 'x' does not fit"):
        session.run({"x": _X[..., :2], "number": np.int32([3])})


def test_what_has_no_axes_in_the_model_has_one_at_core_ml_s_border(library: type[Library], package: Path) -> None:
    inputs = (runtimes.TensorSpec("x", (1, 3, 4, 4), "float32"), runtimes.TensorSpec("number", (), "bool"))
    outputs = (runtimes.TensorSpec("next", (), "int64"),)
    found = coreml.CoreMLSession(package, inputs, outputs).run({"x": _X, "number": np.array(True)})
    assert found == {"next": 2}
    assert (found["next"].shape, found["next"].dtype) == ((), np.int64)


def test_a_package_that_core_ml_does_not_compile_says_why(library: type[Library], package: Path) -> None:
    library.fails_to_compile = "Error compiling model: Unable to parse ML Program"
    with pytest.raises(ArtifactError, match="Core ML does not compile") as caught:
        runtimes.open(package)
    assert "Unable to parse ML Program" in caught.value.cause
    assert str(package) in caught.value.what
    assert caught.value.next_step


def test_a_macos_that_is_too_old_is_told(library: type[Library], package: Path) -> None:
    library.newest_version = 7
    with pytest.raises(Unsupported, match="Core ML here does not load") as caught:
        runtimes.open(package)
    assert "specification version 8" in caught.value.cause
    assert "macOS" in caught.value.next_step


def test_a_prediction_that_fails_says_why(library: type[Library], package: Path) -> None:
    library.fails_to_run = "Unable to compute the prediction using ML Program."
    with pytest.raises(Unsupported, match="Core ML cannot run") as caught:
        runtimes.open(package).run({"x": _X, "number": np.int32([3])})
    assert caught.value.cause == library.fails_to_run


def test_a_damaged_package_is_told_before_core_ml_sees_it(library: type[Library], tmp_path: Path) -> None:
    (tmp_path / "empty.mlpackage").mkdir()
    with pytest.raises(ArtifactError, match="is not a sound Core ML package"):
        runtimes.open(tmp_path / "empty.mlpackage")


def test_pictures_are_left_to_core_ml(library: type[Library], tmp_path: Path) -> None:
    image = coremltools.ImageType(name="x", shape=_X.shape)
    path = programs.save(lambda x: mb.relu(x=x), tmp_path / "image.mlpackage", {"x": _X}, inputs=[image], pass_pipeline=None)
    with pytest.raises(Unsupported, match="'x' is no array but of Core ML's type image"):
        runtimes.open(path)


def test_a_state_lasts_from_run_to_run(library: type[Library], tmp_path: Path) -> None:
    @mb.program(
        input_specs=[mb.TensorSpec((3,), dtype=types.fp16), mb.StateTensorSpec((3,), dtype=types.fp16)],
        opset_version=coremltools.target.iOS18,
    )
    def program(x: Any, total: Any) -> Any:
        return mb.coreml_update_state(state=total, value=mb.add(x=x, y=mb.read_state(input=total)))

    options = {"convert_to": "mlprogram", "minimum_deployment_target": coremltools.target.iOS18, "skip_model_load": True}
    coremltools.convert(program, **options).save(str(tmp_path / "sum.mlpackage"))
    session = runtimes.open(tmp_path / "sum.mlpackage")
    x = np.float16([1, 2, 3])
    for steps in (1, 2):
        np.testing.assert_array_equal(next(iter(session.run({"x": x}).values())), steps * x)


def test_verify_runs_core_ml_and_compares_what_stands_in_for_it(
    library: type[Library], tiny_file: Path, tmp_path: Path, edgekit: Command
) -> None:
    request = {"precision": "fp32", "input_shapes": ((1, 3, 32, 32),), "use_cache": False}
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setattr(sys, "platform", "linux")
        made = api.export(f"{tiny_file}:build", "coreml", output=tmp_path, **request)
    assert made.manifest.parity.stand_in_sqnr_db is None
    library.error = 1e-3
    record = api.verify(made.directory)
    assert record.runtime == f"coreml (coremltools {coremltools.__version__})"
    assert record.precision.sqnr_db == pytest.approx(60, abs=0.5)
    assert record.stand_in_sqnr_db == pytest.approx(60, abs=0.5)
    told = edgekit("verify", made.directory).out
    assert "The reference interpreter, which stands in for it elsewhere, is 60.0 dB from it." in told
