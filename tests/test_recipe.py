"""A recipe is typed, frozen and refuses what it does not know, with the near names."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest

from edgekit import data_files, recipe
from edgekit.errors import UsageError
from edgekit.recipe import Recipe


def _refusal(tmp_path: Path, text: str) -> UsageError:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        recipe.load(path)
    assert str(path) in caught.value.what
    assert caught.value.exit_code == 2
    assert caught.value.next_step
    return caught.value


def test_a_recipe_is_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: lsnet_s\ntarget: onnx\ninput_size: 320\npasses: [fold_batchnorm]\n")
    assert recipe.load(path) == Recipe(model="lsnet_s", target="onnx", input_size=320, passes=("fold_batchnorm",))


def test_a_recipe_cannot_change() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Recipe(model="lsnet", target="onnx").model = "other"  # type: ignore[misc]  # the very thing that is refused


def test_a_misspelt_key_is_offered_the_near_ones(tmp_path: Path) -> None:
    error = _refusal(tmp_path, "model: lsnet\ntarget: onnx\ninput_sise: 96\n")
    assert "unknown key 'input_sise'" in error.what
    assert "input_size" in error.next_step


def test_a_key_near_to_nothing_is_offered_all(tmp_path: Path) -> None:
    error = _refusal(tmp_path, "model: lsnet\ntarget: onnx\nzzzzzz: 96\n")
    assert set(Recipe.model_fields) <= set(error.next_step.removeprefix("known keys: ").split(", "))


def test_a_misspelt_key_is_told_before_the_key_it_should_have_been(tmp_path: Path) -> None:
    error = _refusal(tmp_path, "modle: lsnet\ntarget: onnx\n")
    assert "unknown key 'modle'" in error.what
    assert "did you mean model" in error.next_step


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    error = _refusal(tmp_path, "target: onnx\n")
    assert "'model' is missing" in error.what
    assert "model: VALUE" in error.next_step


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("input_size: ninety", ["'input_size'", "'ninety'", "integer"]),
        ("input_size: 0", ["'input_size' cannot be 0", "greater than 0"]),
        ("precision: fp17", ["'precision'", "'fp17'", "'fp32' or 'fp16'"]),
        ("input_shapes: [[1, 3, -1]]", ["input_shapes.0", "1, 3, -1", "positive sizes"]),
        ("input_shapes: [[]]", ["input_shapes.0", "positive sizes"]),
        ("passes: fold_batchnorm", ["'passes'", "'fold_batchnorm'"]),
    ],
)
def test_a_value_that_does_not_fit_is_repeated_with_what_would(tmp_path: Path, line: str, words: list[str]) -> None:
    error = _refusal(tmp_path, f"model: lsnet\ntarget: onnx\n{line}\n")
    assert not [word for word in words if word not in str(error)]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    assert "no mapping" in _refusal(tmp_path, text).what


def test_broken_yaml_is_refused_with_the_line(tmp_path: Path) -> None:
    error = _refusal(tmp_path, 'model: "unclosed\n')
    assert "not readable YAML" in error.what
    assert "line 1" in error.cause


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00model")
    with pytest.raises(UsageError, match="not readable YAML"):
        recipe.load(path)


def test_yaml_never_runs_code(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    error = _refusal(tmp_path, f'model: !!python/object/apply:os.system ["touch {witness}"]\ntarget: onnx\n')
    assert "could not determine a constructor" in error.cause
    assert not witness.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml does not exist"):
        recipe.find(str(tmp_path / "nowhere.yaml"))


def test_relative_paths_are_taken_from_the_recipe_s_folder(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: nets/net.py:build\ntarget: onnx\nweights: net.pth\ndevice: phone.yaml\n")
    found = recipe.load(path)
    assert found.model == f"{tmp_path}/nets/net.py:build"
    assert found.weights == tmp_path / "net.pth"
    assert found.device == str(tmp_path / "phone.yaml")


def test_absolute_paths_and_names_stay(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: lsnet_t\ntarget: onnx\nweights: /elsewhere/net.pth\ndevice: host\n")
    found = recipe.load(path)
    assert (found.model, str(found.weights), found.device) == ("lsnet_t", "/elsewhere/net.pth", "host")


def test_options_override_the_recipe_they_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: lsnet_t\ntarget: onnx\ninput_size: 320\nconversion_sqnr_db: 70\n")
    found = recipe.from_request(model=str(path), target="coreml", input_size=None, precision="fp16")
    assert (found.model, found.target, found.input_size, found.precision) == ("lsnet_t", "coreml", 320, "fp16")
    assert found.conversion_sqnr_db == 70


def test_a_shipped_recipe_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lsnet_t_host.yaml").write_text("model: lsnet_t\ntarget: onnx\n")
    monkeypatch.setattr(data_files, "folder", lambda name: tmp_path)
    assert recipe.from_request(model="lsnet_t_host").model == "lsnet_t"
    assert recipe.find("lsnet_t") is None


def test_a_request_without_a_target_is_refused() -> None:
    with pytest.raises(UsageError, match="no target was given") as caught:
        recipe.from_request(model="lsnet_t")
    assert "--target" in caught.value.next_step


def test_a_request_with_an_unknown_option_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown key 'inputsize'") as caught:
        recipe.from_request(model="lsnet_t", target="onnx", inputsize=96)
    assert "input_size" in caught.value.next_step


def test_a_key_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("model: lsnet_t\ntarget: onnx\nmodel: lsnet_s\n")
    with pytest.raises(UsageError, match="is not readable YAML") as caught:
        recipe.load(path)
    assert "the key 'model' stands there twice" in caught.value.cause
    assert "line 1" in caught.value.cause
