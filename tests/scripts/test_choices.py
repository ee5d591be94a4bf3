"""A choice is measured each way, and the report says whether the profile chose as the measurement would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import choices
import pytest
from choices import CHOICES, FACTS, OF_INTEGERS, Choice, Tried

from edgekit import profiles
from edgekit.profiles import RuntimeProfile
from edgekit.profiling.measurement import Measurement

_CHOICE = Choice("group_norm", "onnx", "tiny", ("native", "decomposed"))
_Tried = Callable[..., Tried]


@pytest.fixture
def tried(measurement: Callable[..., Measurement], process: Callable[..., object]) -> _Tried:
    """A value whose runs took about so many milliseconds."""

    def build(value: object, milliseconds: float, *, stated: bool = False, spread: float = 0.0) -> Tried:
        runs = [milliseconds * (1 + spread * (i % 5 - 2)) / 1e3 for i in range(40)]
        return Tried(value, stated, 12, measurement([process(runs)] * 2))

    return build


def test_every_field_of_a_runtime_profile_is_a_fact_or_a_choice_that_is_measured() -> None:
    assert set(RuntimeProfile.model_fields) == FACTS | OF_INTEGERS | {choice.field for choice in CHOICES}
    assert not (FACTS | OF_INTEGERS) & {choice.field for choice in CHOICES}


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: f"{choice.field}-{choice.target}")
def test_each_value_makes_a_profile_and_the_host_s_is_among_them(choice: Choice, tmp_path: Path) -> None:
    host = profiles.load("host")
    files = [choices.with_value(host, choice, value, tmp_path) for value in choice.values]
    assert len(set(files)) == len(files)
    for value, file in zip(choice.values, files, strict=True):
        made = profiles.load(str(file))
        assert getattr(profiles.for_target(made, choice.target), choice.field) == value
        assert made.transport == host.transport
    assert getattr(profiles.for_target(host, choice.target), choice.field) in choice.values


def test_the_measurement_agrees_disagrees_or_sees_no_difference(tried: _Tried) -> None:
    assert choices.judged([tried("a", 10, stated=True), tried("b", 12)]) == "agrees"
    assert choices.judged([tried("a", 12, stated=True), tried("b", 10)]) == "disagrees: b is 1.20x faster"
    alike = [tried("a", 10, stated=True, spread=0.2), tried("b", 10, spread=0.2)]
    assert choices.judged(alike) == "sees no difference"
    assert choices.judged([tried("a", 10), tried("b", 12)]) == "does not know the profile's value"


def test_a_value_that_cannot_be_exported_says_why_and_the_others_stand(tried: _Tried) -> None:
    rows = choices.rows(_CHOICE, [tried("native", 10, stated=True), Tried("decomposed", False, failure="it misses 60 dB")])
    assert rows[0] == "| group_norm | onnx | tiny | **native** | 12 | 10.0 [10.0, 10.0] | 1.000 [1.000, 1.000] | agrees |"
    assert rows[1] == "| group_norm | onnx | tiny | decomposed | - | - | - | it misses 60 dB |"


def test_other_profiles_say_what_was_measured_elsewhere_and_what_was_not() -> None:
    lines = choices.elsewhere(profiles.load("host"))
    assert "| pixel-8 | executorch | group_norm | decomposed | as on host, same runtime; not measured on the device |" in lines
    assert any(
        line.startswith("| iphone | coreml | leaves_accelerator |") and line.endswith("| not measured |") for line in lines
    )
    assert not [line for line in lines if line.startswith("| host ")]


@pytest.mark.slow
@pytest.mark.usefixtures("brief")
def test_a_choice_is_exported_and_measured_each_way(tmp_path: Path) -> None:
    file = tmp_path / "normed.py"
    file.write_text(
        "import torch\n\n\ndef build():\n    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.GroupNorm(2, 8))\n",
        encoding="utf-8",
    )
    recipe = tmp_path / "normed.yaml"
    recipe.write_text(f"model: {file}:build\ntarget: onnx\ninput_shapes: [[1, 3, 16, 16]]\n", encoding="utf-8")
    choice = Choice("group_norm", "onnx", str(recipe), ("native", "decomposed", "neither"))
    native, decomposed, neither = choices.try_all(profiles.load("host"), choice, tmp_path, measure=True)
    assert native.stated
    assert native.measurement
    assert decomposed.measurement
    assert native.measurement.job == decomposed.measurement.job
    assert 0 < native.operators < decomposed.operators
    assert "cannot be 'neither'" in neither.failure
