"""Saved packages: what they hold is executed, and what is wrong with one is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools
import numpy as np
import programs
import pytest
from coremltools.converters import mil
from coremltools.converters.mil.mil import types
from single import noise

from edgekit import runtimes
from edgekit.errors import ArtifactError, EdgekitError, Unsupported, UsageError
from edgekit.runtimes import coreml_reference

pytestmark = pytest.mark.slow

mb = mil.Builder
_X = noise(1, 3, 8, 8)
_W = noise(4, 3, 3, 3)


def _conv(x: Any) -> Any:
    return mb.relu(x=mb.conv(x=x, weight=_W, pad_type="same"))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.save(_conv, tmp_path_factory.mktemp("saved") / "conv.mlpackage", {"x": _X})


@pytest.fixture
def copied(package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package, tmp_path / "model.mlpackage"))


def _expected() -> np.ndarray:
    import torch
    import torch.nn.functional as F

    return F.conv2d(torch.from_numpy(_X), torch.from_numpy(_W), padding=1).relu().numpy()


# --- as a session


def test_anybody_s_package_opens_by_its_path(package: Path) -> None:
    with runtimes.open(package) as session:
        assert [(spec.name, spec.shape, spec.dtype) for spec in session.inputs] == [("x", (1, 3, 8, 8), "float32")]
        (found,) = session.run({"x": _X}).values()
        assert session.runtime.startswith("Core ML reference interpreter (as declared, torch ")
    np.testing.assert_allclose(found, _expected(), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="input 'x' does not fit"):
        session.run({"x": _X[..., :4]})


def test_declared_rounds_every_result_and_fp32_none(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        return mb.cast(x=mb.mul(x=mb.mul(x=x, y=np.float16(3000)), y=np.float16(1 / 3000)), dtype="fp32")

    x = {"x": np.float16([1, 10.01, 100])}
    (exact,) = programs.run(build, x, mode="fp32")
    (declared,) = programs.run(build, x, mode="declared")
    third = np.float32(np.float16(1 / 3000))
    np.testing.assert_allclose(exact, x["x"].astype(np.float32) * 3000 * third, rtol=1e-6)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(declared, (x["x"] * np.float16(3000) * np.float16(1 / 3000)).astype(np.float32))
    assert np.isinf(declared[2])  # 300000 is more than fp16 holds


def test_sums_are_accumulated_in_fp32(tmp_path: Path) -> None:
    ones = np.ones((1, 4096), np.float16)
    (found,) = programs.run(lambda x: mb.reduce_sum(x=x, axes=[1]), {"x": ones}, mode="declared")
    assert found.tolist() == [4096]  # fp16 steps of one end at 2048


# --- control flow, lists, states, functions


def test_branches_and_loops() -> None:
    def build(x: Any) -> Any:
        total = mb.reduce_sum(x=x, axes=[0], keep_dims=False)
        chosen = mb.cond(
            pred=mb.greater(x=total, y=np.float32(0)), _true_fn=lambda: mb.add(x=x, y=x), _false_fn=lambda: mb.square(x=x)
        )
        _, doubled = mb.while_loop(
            _cond=lambda i, v: mb.less(x=i, y=np.int32(3)),
            _body=lambda i, v: (mb.add(x=i, y=np.int32(1)), mb.mul(x=v, y=np.float32(2))),
            loop_vars=(np.int32(0), chosen),
        )
        return doubled

    for x in (np.float32([1, 2]), np.float32([-1, -2])):
        (found,) = programs.run(build, {"x": x})
        np.testing.assert_allclose(found, 8 * (x + x if x.sum() > 0 else x * x))


def test_lists_grow_and_are_gathered() -> None:
    def build(x: Any) -> Any:
        written = mb.list_write(ls=mb.make_list(init_length=1, elem_shape=(2,), dtype="fp32"), index=2, value=x)
        written = mb.list_scatter(ls=written, indices=np.int32([0]), value=mb.expand_dims(x=mb.add(x=x, y=x), axes=[0]))
        return mb.list_gather(ls=written, indices=np.int32([2, 0, 1])), mb.list_read(ls=written, index=0)

    x = np.float32([1, 2])
    gathered, read = programs.run(build, {"x": x})
    np.testing.assert_array_equal(gathered, [x, 2 * x, 0 * x])
    np.testing.assert_array_equal(read, 2 * x)


@pytest.fixture(scope="module")
def stateful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adds what it is given to a state, and gives the sum."""

    @mb.program(
        input_specs=[mb.TensorSpec((3,), dtype=types.fp16), mb.StateTensorSpec((3,), dtype=types.fp16)],
        opset_version=coremltools.target.iOS18,
    )
    def program(x: Any, total: Any) -> Any:
        return mb.coreml_update_state(state=total, value=mb.add(x=x, y=mb.read_state(input=total)))

    path = tmp_path_factory.mktemp("stateful") / "sum.mlpackage"
    coremltools.convert(
        program, convert_to="mlprogram", minimum_deployment_target=coremltools.target.iOS18, skip_model_load=True
    ).save(str(path))
    return path


def test_a_state_lasts_from_run_to_run_until_it_is_reset(stateful: Path) -> None:
    session = coreml_reference.open(stateful)
    x = np.float16([1, 2, 3])
    for steps in (1, 2, 3):
        np.testing.assert_array_equal(next(iter(session.run({"x": x}).values())), steps * x)
    session.reset_states()
    np.testing.assert_array_equal(next(iter(session.run({"x": x}).values())), x)
    np.testing.assert_array_equal(next(iter(coreml_reference.open(stateful).run({"x": x}).values())), x)


def test_what_a_run_gives_is_the_caller_s_to_change(stateful: Path) -> None:
    session = coreml_reference.open(stateful)
    x = np.float16([1, 2, 3])
    x.flags.writeable = False
    (first,) = session.run({"x": x}).values()
    first[:] = 100
    np.testing.assert_array_equal(next(iter(session.run({"x": x}).values())), 2 * x)


def test_a_function_is_chosen_by_its_name(tmp_path: Path) -> None:
    from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction

    paths = []
    for name, factor in (("twice", 2), ("thrice", 3)):
        path = tmp_path / f"{name}.mlpackage"
        programs.save(lambda x, f=factor: mb.mul(x=mb.conv(x=x, weight=_W), y=np.float32(f)), path, {"x": _X}, ios=18)
        paths.append((name, path))
    described = MultiFunctionDescriptor()
    for name, path in paths:
        described.add_function(str(path), src_function_name="main", target_function_name=name)
    described.default_function_name = "twice"
    save_multifunction(described, str(tmp_path / "both.mlpackage"))
    twice = coreml_reference.open(tmp_path / "both.mlpackage").run({"x": _X})
    thrice = coreml_reference.open(tmp_path / "both.mlpackage", function="thrice").run({"x": _X})
    (a,), (b,) = twice.values(), thrice.values()
    np.testing.assert_allclose(a * 1.5, b, rtol=1e-5)
    with pytest.raises(ArtifactError, match="has no function 'once'") as caught:
        coreml_reference.open(tmp_path / "both.mlpackage", function="once")
    assert "thrice, twice" in caught.value.cause


def test_an_image_is_an_array_of_its_pixels(tmp_path: Path) -> None:
    image = coremltools.ImageType(name="x", shape=_X.shape, scale=1 / 255, bias=[-0.5, 0, 0])
    path = programs.save(_conv, tmp_path / "image.mlpackage", {"x": _X}, inputs=[image], pass_pipeline=None)
    pixels = np.random.default_rng(0).integers(0, 256, _X.shape).astype(np.float32)
    session = coreml_reference.open(path)
    assert session.inputs[0].shape == _X.shape
    plain = coreml_reference.open(programs.save(_conv, tmp_path / "plain.mlpackage", {"x": _X}))
    expected = plain.run({"x": pixels / np.float32(255) + np.float32([-0.5, 0, 0]).reshape(1, 3, 1, 1)})
    np.testing.assert_allclose(
        next(iter(session.run({"x": pixels}).values())), next(iter(expected.values())), rtol=1e-4, atol=1e-4
    )


# --- what is wrong


def _spec(path: Path) -> Path:
    return next(path.rglob("*.mlmodel"))


def _edit(path: Path, change: Callable[[Any], None]) -> None:
    spec = coremltools.utils.load_spec(str(path))
    change(spec)
    _spec(path).write_bytes(spec.SerializeToString())


def _newer(spec: Any) -> None:
    spec.specificationVersion = 99


def _older(spec: Any) -> None:
    spec.specificationVersion = 4


def _network(spec: Any) -> None:
    spec.neuralNetwork.SetInParent()


def _unknown_operators(spec: Any) -> None:
    for operation in spec.mlProgram.functions["main"].block_specializations["CoreML7"].operations:
        if operation.type in ("conv", "relu"):
            operation.type = {"conv": "warp", "relu": "random_normal"}[operation.type]


def _wrong_shape(spec: Any) -> None:
    operations = spec.mlProgram.functions["main"].block_specializations["CoreML7"].operations
    operations[-1].outputs[0].type.tensorType.dimensions[1].constant.size = 5


def _dangling(spec: Any) -> None:
    operations = spec.mlProgram.functions["main"].block_specializations["CoreML7"].operations
    operations[-1].inputs["x"].arguments[0].name = "nowhere"


def _unknown_function(spec: Any) -> None:
    spec.description.defaultFunctionName = "decode"


def _no_body(spec: Any) -> None:
    spec.mlProgram.functions["main"].opset = "CoreML8"


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (_newer, Unsupported, ["specification version 99", "reads versions up to", "newer edgekit"]),
        (_older, ArtifactError, ["specification version 4", "begin with version 6"]),
        (_network, Unsupported, ["of type neuralNetwork", "convert_to='mlprogram'"]),
        (_unknown_operators, Unsupported, ["operator warp at", "nor are 1 other", "warp (1)", "random_normal (1)"]),
        (_wrong_shape, ArtifactError, ["operator relu at", "[1, 4, 8, 8], the package declares [1, 5, 8, 8]"]),
        (_dangling, ArtifactError, ["operator relu at", "nowhere"]),
        (_unknown_function, ArtifactError, ["has no function 'decode'", "it has main"]),
        (_no_body, ArtifactError, ["function 'main' has no body", "CoreML8"]),
    ],
)
def test_a_program_that_is_wrong_is_told(copied: Path, change: Any, kind: type[EdgekitError], words: list[str]) -> None:
    _edit(copied, change)
    with pytest.raises(kind) as caught:
        coreml_reference.open(copied).run({"x": _X})
    assert type(caught.value) is kind
    assert caught.value.next_step
    assert not [word for word in words if word not in str(caught.value)]


def _weights(path: Path) -> Path:
    return next(path.rglob("weight.bin"))


def _truncate(path: Path) -> None:
    _weights(path).write_bytes(_weights(path).read_bytes()[:-100])


def _empty(path: Path) -> None:
    _weights(path).write_bytes(b"")


def _garble(path: Path) -> None:
    _weights(path).write_bytes(bytes(len(_weights(path).read_bytes())))


def _remove_weights(path: Path) -> None:
    _weights(path).unlink()


def _remove_manifest(path: Path) -> None:
    (path / "Manifest.json").unlink()


def _garble_manifest(path: Path) -> None:
    (path / "Manifest.json").write_bytes(b"\x00\xff{")


def _other_manifest(path: Path) -> None:
    (path / "Manifest.json").write_text("[]")


def _lost_root(path: Path) -> None:
    manifest = json.loads((path / "Manifest.json").read_text())
    (path / "Manifest.json").write_text(json.dumps({**manifest, "rootModelIdentifier": "nowhere"}))


def _forget_weights(path: Path) -> None:
    manifest = json.loads((path / "Manifest.json").read_text())
    entries = manifest["itemInfoEntries"]
    manifest["itemInfoEntries"] = {key: value for key, value in entries.items() if value["name"] != "weights"}
    (path / "Manifest.json").write_text(json.dumps(manifest))


def _remove_spec(path: Path) -> None:
    _spec(path).unlink()


def _truncate_spec(path: Path) -> None:
    _spec(path).write_bytes(_spec(path).read_bytes()[:-200])


def _empty_spec(path: Path) -> None:
    _spec(path).write_bytes(b"")


def _garble_spec(path: Path) -> None:
    _spec(path).write_bytes(b"\xff" * 500)


def _lone_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"hello")


def _empty_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_truncate, ["weight.bin is damaged", "lies beyond its end"]),
        (_empty, ["weight.bin is damaged", "lies beyond its end"]),
        (_garble, ["weight.bin is damaged", "no weight begins"]),
        (_remove_weights, ["lacks its weights", "weight.bin, which is missing"]),
        (_forget_weights, ["lacks its weights"]),
        (_remove_manifest, ["not a sound Core ML package", "it has no Manifest.json"]),
        (_garble_manifest, ["not a sound Core ML package", "its Manifest.json is no JSON"]),
        (_other_manifest, ["not a sound Core ML package", "its Manifest.json names no model"]),
        (_lost_root, ["not a sound Core ML package", "its Manifest.json names no model"]),
        (_remove_spec, ["not a sound Core ML package", "it lacks Data/com.apple.CoreML/model.mlmodel"]),
        (_truncate_spec, ["not a sound Core ML package"]),
        (_garble_spec, ["not a sound Core ML package"]),
        (_empty_spec, ["not a sound Core ML package", "its specification is empty"]),
        (_lone_file, ["not a sound Core ML package"]),
        (_empty_folder, ["not a sound Core ML package", "it has no Manifest.json"]),
    ],
)
def test_a_damaged_package_is_told(copied: Path, damage: Callable[[Path], None], words: list[str]) -> None:
    damage(copied)
    with pytest.raises(ArtifactError) as caught:
        coreml_reference.open(copied)
    assert "model.mlpackage" in caught.value.what
    assert caught.value.cause
    assert "export it again" in caught.value.next_step
    assert not [word for word in words if word not in str(caught.value)]
