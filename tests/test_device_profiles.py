"""Device profiles state sources, `host` is this machine's, and the shipped recipes name what exists."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from edgekit import console, data_files, models, passes, profiles, recipe, targets
from edgekit.errors import Unsupported
from edgekit.profiles import DeviceProfile, Figure

_SHIPPED = data_files.names("device_profiles")
_DTYPES = {"float32", "tfloat32", "float16", "bfloat16", "float8", "int8", "uint8"}


def _figures(device: DeviceProfile) -> list[Figure]:
    return [*device.peak_ops_per_s.values(), device.memory_bandwidth_bytes_per_s, device.memory_bytes]


@pytest.mark.parametrize("name", _SHIPPED)
def test_every_figure_has_its_source_and_an_unknown_its_reason(name: str) -> None:
    device = profiles.load(name)
    assert (device.name, device.file) == (name, f"{name}.yaml")
    assert set(device.peak_ops_per_s) <= {*_DTYPES, "unstated"}
    for figure in _figures(device):
        assert figure.value is None or figure.value > 0
        assert len(figure.source.split()) >= 3, "a document's name, a computation, or why it is unknown"
    for target, runtime in device.runtimes.items():
        assert target in targets.names()
        assert len(runtime.source.split()) >= 3
        assert set(runtime.dtypes) <= _DTYPES
        assert (runtime.opset is not None) == (target == "onnx")
        assert (runtime.minimum_os is not None) == (target == "coreml")


@pytest.mark.parametrize("name", [name for name in _SHIPPED if not name.startswith("host-")])
def test_a_device_nobody_measured_on_says_so(name: str) -> None:
    device = profiles.load(name)
    assert device.transport is None
    assert "unverified on hardware" in device.description
    assert all("unverified on hardware" in runtime.source.lower() for runtime in device.runtimes.values())


@pytest.mark.parametrize(
    ("machine", "stem"),
    [("x86_64", "host-x86"), ("AMD64", "host-x86"), ("aarch64", "host-arm64"), ("arm64", "host-arm64")],
)
def test_host_is_the_profile_of_this_machine_s_architecture(
    machine: str, stem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    host = profiles.load("host")
    assert (host.name, host.file, host.transport) == ("host", f"{stem}.yaml", "host")
    other = ({"host-x86", "host-arm64"} - {stem}).pop()
    assert profiles.load(other).transport is None, "the other architecture is another machine"
    assert profiles.names().count("host") == 1
    assert stem not in profiles.names()
    for target in targets.names():
        profiles.for_target(profiles.load(targets.find(target).DEVICE), target)

    console.show_devices([profiles.load(name) for name in profiles.names()], [])
    listed = capsys.readouterr().out
    assert listed.count(f"host ({stem}.yaml)") == 1
    assert other in listed


def test_a_machine_without_a_profile_is_told_how_to_write_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(Unsupported) as caught:
        profiles.load("host")
    assert caught.value.exit_code == 4
    assert "riscv64" in caught.value.what
    assert "YAML" in caught.value.next_step
    assert "host" not in profiles.names()
    assert all(profiles.load(name).transport is None for name in profiles.names())


def test_a_profile_of_the_user_s_own_is_read_from_its_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    shipped = data_files.folder("device_profiles") / "host-x86.yaml"
    mine.write_text(shipped.read_text().replace("name: host-x86", "name: mine"))
    device = profiles.load(str(mine))
    assert (device.name, device.file, device.transport) == ("mine", "mine.yaml", "host")


def test_every_family_ships_its_smallest_for_every_target() -> None:
    smallest = {models.find(family).name for family in models.families()}
    assert set(data_files.names("recipes")) == {f"{model}-{target}" for model in smallest for target in targets.names()}


@pytest.mark.parametrize("name", data_files.names("recipes"))
def test_a_recipe_is_found_both_ways_and_says_when_to_use_it(name: str) -> None:
    path = data_files.folder("recipes") / f"{name}.yaml"
    found = recipe.find(name)
    assert found is not None
    assert found == recipe.find(str(path))
    assert name == f"{found.model}-{found.target}"
    asked = {"device": found.device, "precision": found.precision}
    assert recipe.from_request(model=str(path)) == recipe.from_request(model=found.model, target=found.target, **asked)
    assert found.precision in (None, targets.precision_of(found.target, None))
    models.find(found.model).at_size(found.input_size)
    profiles.for_target(profiles.load(found.device or targets.find(found.target).DEVICE), found.target)
    assert set(found.passes or ()) <= set(passes.names())
    assert path.read_text().startswith("# ")
