"""`torch_compile:` and `torch_aotinductor:` compute what eager does, and say what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edgekit import runtimes
from edgekit.errors import UnknownName
from edgekit.profiling.subject import describe
from edgekit.runtimes import Session

_INPUT = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def factory(tiny_file: Path, tmp_path: Path) -> str:
    """The tiny model with the input to run it on."""
    path = tmp_path / "with_input.py"
    path.write_text(tiny_file.read_text() + "\n\ndef example():\n    return build(), {'x': torch.ones(1, 3, 32, 32)}\n")
    return f"{path}:example"


def _run(session: Session) -> Mapping[str, np.ndarray]:  # type: ignore[type-arg]
    with session:
        session.set_threads(1)
        return session.run({"x": _INPUT})


@pytest.mark.slow
@pytest.mark.parametrize(("way", "said"), [("torch_compile", "compile"), ("torch_aotinductor", "AOTInductor")])
def test_it_computes_what_eager_does(way: str, said: str, factory: str) -> None:
    session = runtimes.open(f"{way}:{factory}")
    assert said in session.runtime
    (expected,) = _run(runtimes.open(factory)).values()
    (found,) = _run(session).values()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_prepared_run_gives_what_run_does(factory: str, tiny_artifact: Path) -> None:
    for session in (runtimes.open(factory), runtimes.open(tiny_artifact)):
        (expected,) = session.run({"x": _INPUT}).values()
        (found,) = session.prepared([_INPUT])()
        np.testing.assert_array_equal(np.asarray(found), expected)
        clock = session.clock()
        assert clock() <= clock()
        assert session.gpu_peak_bytes is None


def test_the_way_is_part_of_what_was_measured() -> None:
    model = describe("torch_compile:lsnet_t").model
    assert (model.name, model.target) == ("lsnet_t", "torch_compile")
    assert describe("lsnet_t").model.target == "eager"
    with pytest.raises(UnknownName, match="unknown model 'torch_compil:lsnet_t'"):
        runtimes.open("torch_compil:lsnet_t")
