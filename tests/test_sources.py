"""Models come from a name, a user's file or a module; what is wrong with a file is said with its line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit import models, sources, weights
from edgekit.errors import EdgekitError, ModelError, UnknownName, UsageError, WeightsError
from edgekit.recipe import Recipe

_SHAPE = (1, 3, 32, 32)


def _factory(file: Path, name: str = "build", shapes: tuple[tuple[int, ...], ...] = (_SHAPE,), **options: Any) -> Recipe:
    return Recipe(model=f"{file}:{name}", target="onnx", input_shapes=shapes, **options)


def _refusal(recipe: Recipe, *words: str) -> EdgekitError:
    before = list(sys.path)
    with pytest.raises(EdgekitError) as caught:
        sources.load(recipe)
    assert sys.path == before
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)
    assert caught.value.next_step
    assert caught.value.exit_code == 2
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "net.py"


# --- file.py:factory


def test_a_factory_s_module_is_loaded_with_example_inputs(tiny_file: Path) -> None:
    loaded = sources.load(_factory(tiny_file))
    assert (loaded.name, loaded.weights) == ("tiny_build", "module")
    assert [(name, tuple(tensor.shape)) for name, tensor in loaded.inputs.items()] == [("x", _SHAPE)]
    assert not loaded.module.training
    again = sources.load(_factory(tiny_file))
    assert torch.equal(loaded.inputs["x"], again.inputs["x"])
    assert loaded.weights_sha256 == again.weights_sha256


def test_a_class_or_a_partial_is_as_good_as_a_function(file: Path) -> None:
    file.write_text(
        "import functools\nfrom torch import nn\n"
        "class Net(nn.Linear):\n    def __init__(self): super().__init__(3, 2)\n"
        "small = functools.partial(nn.Linear, 3, 2)\n"
    )
    for name in ("Net", "small"):
        assert isinstance(sources.load(_factory(file, name, ((1, 3),))).module, nn.Linear)


def test_a_file_may_import_what_lies_beside_it(file: Path) -> None:
    (file.parent / "edgekit_test_parts.py").write_text("from torch import nn\nlayer = nn.ReLU\n")
    file.write_text("from edgekit_test_parts import layer\ndef build(): return layer()\n")
    before = list(sys.path)
    assert isinstance(sources.load(_factory(file)).module, nn.ReLU)
    assert sys.path == before


def test_inputs_have_the_names_of_forward_s_arguments(file: Path) -> None:
    file.write_text("from torch import nn\nclass Sum(nn.Module):\n    def forward(self, left, right): return left + right\n")
    assert list(sources.load(_factory(file, "Sum", ((2,), (2,)))).inputs) == ["left", "right"]
    _refusal(_factory(file, "Sum", ((2,), (2,), (2,))), "takes 2 inputs", "3 shapes")


def test_a_factory_that_raises_is_told_with_the_line(file: Path) -> None:
    file.write_text("def build():\n    layers = 7\n    raise ValueError(f'no such layer count: {layers}')\n")
    error = _refusal(_factory(file), "raised ValueError", "no such layer count: 7", "line 3", "raise ValueError(")
    assert isinstance(error, ModelError)
    assert isinstance(error.__cause__, ValueError)


def test_an_error_deep_in_a_library_is_told_with_the_user_s_line(file: Path) -> None:
    file.write_text("from torch import nn\n\ndef build():\n    return nn.Conv2d(3, 8, 3, groups=2)\n")
    _refusal(_factory(file), "raised ValueError", "line 4: return nn.Conv2d(3, 8, 3, groups=2)")


def test_a_factory_that_ends_the_program_does_not_end_ours(file: Path) -> None:
    file.write_text("import sys\ndef build():\n    sys.exit('enough')\n")
    _refusal(_factory(file), "ended the program", "sys.exit(enough)", "line 3")


def test_a_file_that_ends_the_program_does_not_end_ours(file: Path) -> None:
    file.write_text("raise SystemExit(0)\n")
    _refusal(_factory(file), "ended the program", "line 1")


@pytest.mark.parametrize(("returned", "kind"), [("None", "NoneType"), ("{'a': 1}", "dict"), ("'lsnet'", "str")])
def test_a_factory_that_returns_no_module_is_told_what_it_returned(file: Path, returned: str, kind: str) -> None:
    file.write_text(f"def build(): return {returned}\n")
    _refusal(_factory(file), "returned no module", f"it returned {kind}", "torch.nn.Module")


def test_a_factory_that_returns_a_class_is_told(file: Path) -> None:
    file.write_text("from torch import nn\ndef build(): return nn.ReLU\n")
    _refusal(_factory(file), "returned no module", "type")


def test_a_factory_that_needs_arguments_is_told(file: Path) -> None:
    file.write_text("def build(width, depth=3): raise AssertionError('called')\n")
    _refusal(_factory(file), "needs arguments", "'width'", "takes none")


def test_a_misspelt_factory_is_offered_the_near_names(file: Path) -> None:
    file.write_text("import torch\ndef build(): ...\ndef other(): ...\n")
    error = _refusal(_factory(file, "biuld"), "no factory 'biuld'", "it defines build, other")
    assert error.next_step == "did you mean build?"
    assert "torch" not in error.cause, "imported names are not the file's"


def test_a_name_that_is_no_function_is_no_factory(file: Path) -> None:
    file.write_text("build = 3\n")
    _refusal(_factory(file), "no factory 'build'", "it defines no functions")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    _refusal(_factory(tmp_path / "nowhere.py"), "nowhere.py does not exist")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "net.py").mkdir()
    _refusal(_factory(tmp_path / "net.py"), "net.py does not exist")


@pytest.mark.parametrize("name", ["", ":"])
def test_a_file_without_a_factory_s_name_is_told_how_to_write_it(file: Path, name: str) -> None:
    file.write_text("")
    error = _refusal(Recipe(model=f"{file}{name}", target="onnx", input_shapes=(_SHAPE,)), "names no factory")
    assert f"write {file}:NAME" in error.next_step


def test_a_syntax_error_is_told_with_its_line(file: Path) -> None:
    file.write_text("import torch\ndef build(:\n    pass\n")
    _refusal(_factory(file), f"{file}, line 2", "is no Python", "invalid syntax", "def build(:")


def test_a_file_that_is_no_text_is_told(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00bad")
    _refusal(_factory(file), "net.py is no Python")


def test_a_missing_package_is_named(file: Path) -> None:
    file.write_text("import edgekit_has_no_such_package\n")
    error = _refusal(_factory(file), "ModuleNotFoundError", "line 1")
    assert "install edgekit_has_no_such_package" in error.next_step


def test_a_factory_needs_the_shape_of_its_inputs(tiny_file: Path) -> None:
    assert "--input-shape" in _refusal(_factory(tiny_file, shapes=()), "needs the shape").next_step


@pytest.mark.parametrize(
    ("options", "option", "instead"),
    [({"weights": "w.pth"}, "--weights", "in the factory"), ({"input_size": 32}, "--input-size", "--input-shape")],
)
def test_options_of_edgekit_s_own_models_are_refused(
    tiny_file: Path, options: dict[str, Any], option: str, instead: str
) -> None:
    assert instead in _refusal(_factory(tiny_file, **options), f"{option} is for edgekit's own models").next_step


# --- edgekit's own models


def test_a_variant_is_loaded_at_its_size_with_deterministic_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = []
    monkeypatch.setattr(weights, "initialise", lambda module, shape: filled.append(shape))
    loaded = sources.load(Recipe(model="lsnet_t", target="onnx", input_size=96))
    assert filled == [(1, 3, 96, 96)]
    assert loaded.inputs["image"].shape == (1, 3, 96, 96)
    assert (loaded.name, loaded.weights, loaded.labels) == ("lsnet_t", "seeded", "imagenet1k")
    assert loaded.preprocessing is not None


def test_a_checkpoint_is_loaded_and_its_hash_recorded(tmp_path: Path) -> None:
    state = models.build(models.find("lsnet_t")).state_dict()
    torch.save(state, tmp_path / "mine.pth")
    loaded = sources.load(Recipe(model="lsnet_t", target="onnx", weights=tmp_path / "mine.pth"))
    assert loaded.weights == "mine.pth"
    assert loaded.weights_sha256 == sources.sha256_of(tmp_path / "mine.pth")
    assert torch.equal(loaded.module.state_dict()["head.l.bias"], state["head.l.bias"])


def test_a_checkpoint_decides_the_classes_and_the_size_that_were_not_asked_for(tmp_path: Path) -> None:
    trained = models.find("lsnet_t").at_size(96).with_classes(10)
    torch.save({"model": models.build(trained).state_dict(), "input_size": 96}, tmp_path / "mine.pth")
    recipe = Recipe(model="lsnet_t", target="onnx", weights=tmp_path / "mine.pth")
    loaded = sources.load(recipe)
    assert loaded.labels is None
    assert loaded.preprocessing == trained.preprocessing
    assert loaded.module(loaded.inputs["image"]).shape == (1, 10)
    assert loaded.inputs["image"].shape == (1, 3, 96, 96)
    larger = sources.load(recipe.model_copy(update={"input_size": 128}))
    assert larger.inputs["image"].shape == (1, 3, 128, 128), "the last stage has as many positions at 96"


@pytest.mark.parametrize("size", [95, 100, 544, 32])
def test_a_size_the_model_cannot_take_is_refused_with_the_nearest(size: int) -> None:
    error = _refusal(Recipe(model="lsnet_t", target="onnx", input_size=size), f"{size}x{size}", "64 to 512 in steps of 32")
    nearest = int(error.next_step.removeprefix("try --input-size "))
    assert nearest in models.find("lsnet_t").input_sizes
    assert abs(nearest - size) <= 32


def test_shapes_are_for_factories() -> None:
    assert "--input-size" in _refusal(Recipe(model="lsnet_t", target="onnx", input_shapes=(_SHAPE,))).next_step


def test_an_unknown_model_is_offered_the_near_names() -> None:
    with pytest.raises(UnknownName) as caught:
        sources.identity(Recipe(model="lsnt", target="onnx"))
    assert "lsnet" in caught.value.near
    with pytest.raises(UnknownName) as caught:
        sources.load(Recipe(model="lsnet_q", target="onnx"))
    assert "lsnet_t" in caught.value.near


def test_a_file_given_as_a_model_is_told_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("x")
    with pytest.raises(UsageError, match="is a file, not a model's name") as caught:
        sources.identity(Recipe(model=str(tmp_path / "w.pth"), target="onnx"))
    assert "--weights" in caught.value.next_step


# --- names and identities


def test_a_family_s_name_means_its_smallest_variant() -> None:
    assert sources.canonical("lsnet") == "lsnet_t"
    for same in ("lsnet_s", "lsnet_t", "file.py:lsnet", "nonsense"):
        assert sources.canonical(same) == same


@pytest.mark.parametrize(
    ("model", "name"), [("lsnet_t", "lsnet_t"), ("./my nets/net.py:build", "net_build"), ("/abs/path/v1.2.py:f", "v1.2_f")]
)
def test_artifacts_carry_the_variant_s_name_or_the_file_s_and_the_factory_s(model: str, name: str) -> None:
    assert sources.display_name(model) == name


def test_weights_decide_a_variant_s_identity(tmp_path: Path) -> None:
    seeded = sources.identity(Recipe(model="lsnet_t", target="onnx"))
    paths = [tmp_path / "a.pth", tmp_path / "b.pth", tmp_path / "copy of a.pth"]
    for path, content in zip(paths, ("a", "b", "a"), strict=True):
        path.write_text(content)
    a, b, copy = (sources.identity(Recipe(model="lsnet_t", target="onnx", weights=path)) for path in paths)
    assert a == copy
    assert len({seeded, a, b}) == 3
    with pytest.raises(WeightsError, match="does not exist"):
        sources.identity(Recipe(model="lsnet_t", target="onnx", weights=tmp_path / "nowhere.pth"))


def test_a_factory_has_no_identity_before_it_is_built(tiny_file: Path) -> None:
    assert sources.identity(_factory(tiny_file)) is None


def test_the_hash_of_a_module_sees_every_tensor_and_its_name() -> None:
    module, other = nn.Linear(3, 2), nn.Linear(3, 2)
    other.load_state_dict(module.state_dict())
    assert sources.state_hash(module) == sources.state_hash(other)
    with torch.no_grad():
        other.bias[1] += 1e-6
    assert sources.state_hash(module) != sources.state_hash(other)
    assert sources.state_hash(nn.Sequential(module)) != sources.state_hash(module)


def test_a_known_family_s_identity_takes_no_torch() -> None:
    code = (
        "import sys; from edgekit import sources; from edgekit.recipe import Recipe\n"
        "sources.identity(Recipe(model='lsnet_t', target='onnx')); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
