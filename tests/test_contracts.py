"""Every file that is found by its name keeps the contract its package states."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

import edgekit
from edgekit import claims, data_files, devices, models, passes, profiles, recipe, runtimes, targets
from edgekit.models import Variant
from edgekit.profiles import RuntimeProfile
from edgekit.profiling import energy
from edgekit.quantize import schemes
from edgekit.runtimes import Session

_PACKAGE = Path(edgekit.__file__).parent


def _files(package: str) -> list[str]:
    return sorted(path.stem for path in (_PACKAGE / package).glob("*.py") if not path.stem.startswith("_"))


def _parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize("family", _files("models"))
def test_a_model_file_exports_its_variants_and_build(family: str) -> None:
    module = importlib.import_module(f"edgekit.models.{family}")
    assert family in models.families()
    assert _parameters(module.build) == ["variant"]
    assert module.VARIANTS
    for name, variant in module.VARIANTS.items():
        assert isinstance(variant, Variant)
        assert variant.name == name
        assert models.family_of(name) == family
        assert models.find(name) is variant
        assert variant.input_shape[2] in variant.input_sizes
        assert variant.at_size(variant.input_shape[2]) == variant
        assert variant.source


@pytest.mark.parametrize("family", _files("models"))
def test_a_family_s_variants_go_from_the_smallest_up(family: str) -> None:
    found = list(models.variants(family).values())
    sizes = [variant.published_params for variant in found]
    assert sizes == sorted(sizes)
    assert models.find(family) is found[0]


@pytest.mark.parametrize("name", _files("passes"))
def test_a_pass_file_exports_apply(name: str) -> None:
    module = passes.find(name)
    assert _parameters(module.apply) == ["program", "profile"]
    assert module.apply.__annotations__["return"] == "Changes"
    assert module.__doc__, "a pass says what it rewrites and where it refuses"
    assert getattr(module, "APPROXIMATE", False) is (name.removeprefix("approximate_") in passes.approximations())
    assert isinstance(getattr(module, "IN_PLACE", False), bool)


def test_the_default_order_names_exact_passes_each_once() -> None:
    assert len(set(passes.ORDER)) == len(passes.ORDER)
    assert not [name for name in passes.ORDER if getattr(passes.find(name), "APPROXIMATE", False)]


@pytest.mark.parametrize("file", _files("quantize/schemes"))
def test_a_scheme_file_assigns_or_plans_and_says_what_it_needs(file: str) -> None:
    module = importlib.import_module(f"edgekit.quantize.schemes.{file}")
    name = file.replace("_", "-")
    assert module.__doc__.startswith(name), "a scheme says what it stores and computes"
    assert isinstance(module.CALIBRATED, bool)
    if hasattr(module, "plan"):
        assert _parameters(module.plan) == ["request"]
    else:
        assert _parameters(module.assign) == ["site", "support", "argument"]
        assert module.assign.__annotations__["return"] == "Assignment"
    numbers: tuple[int, ...] = getattr(module, "ARGUMENTS", ())
    for given in [f"{name}-{number}" for number in numbers] or [name]:
        assert schemes.find(given)[0] is module
    assert (f"{name}-N" if numbers else name) in schemes.names()


@pytest.mark.parametrize("name", _files("targets"))
def test_a_target_file_exports_lower_and_where_it_runs(name: str) -> None:
    module = targets.find(name)
    assert _parameters(module.lower) == ["program", "profile", "directory"]
    assert module.PRECISIONS
    assert set(module.PRECISIONS) <= {"fp32", "fp16"}
    assert targets.precision_of(name, None) == module.PRECISIONS[0]
    assert all(isinstance(package, str) for package in module.REQUIRES)
    assert isinstance(profiles.for_target(profiles.load(module.DEVICE), name), RuntimeProfile)


@pytest.mark.parametrize("name", _files("runtimes"))
def test_a_runtime_file_opens_files_of_its_own_suffix(name: str) -> None:
    module = importlib.import_module(f"edgekit.runtimes.{name}")
    sessions = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, Session)]
    assert any(kind.__module__ == module.__name__ and not inspect.isabstract(kind) for kind in sessions)
    if module.SUFFIX:
        assert _parameters(module.open) == ["model_file", "inputs", "outputs"]
        assert runtimes.find(module.SUFFIX) is module


def test_no_two_runtimes_open_the_same_files() -> None:
    suffixes = [importlib.import_module(f"edgekit.runtimes.{name}").SUFFIX for name in _files("runtimes")]
    files = [suffix for suffix in suffixes if suffix]  # modules are told apart by the runtime's name before the colon
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("name", devices.transports())
def test_a_transport_file_connects_and_tells_what_is_connected(name: str) -> None:
    module = devices.transport(name)
    assert _parameters(module.connect) == ["name", "address", "tape"]
    assert all(isinstance(found, devices.Connected) and found.name.startswith(name) for found in module.connected())


@pytest.mark.parametrize("name", energy.names())
def test_a_meter_file_finds_a_meter_that_says_what_it_covers(name: str) -> None:
    module = importlib.import_module(f"edgekit.profiling.energy.{name}")
    assert _parameters(module.find) == ["shell", "gpu"] if name == "nvml" else ["shell"]
    [meter] = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if getattr(kind, "name", None) == name]
    assert issubclass(meter, energy.Meter)
    assert not inspect.isabstract(meter)
    assert meter.update_interval_s > 0


@pytest.mark.parametrize("name", data_files.names("device_profiles"))
def test_a_device_profile_loads_and_names_targets_that_exist(name: str) -> None:
    device = profiles.load(name)
    assert device.name == name
    assert device.runtimes
    assert set(device.runtimes) <= set(targets.names())


def test_every_claim_on_record_has_its_source_and_a_positive_figure() -> None:
    papers = claims.papers()
    assert len(papers) == len(data_files.names("claims")) > 0
    for paper in papers:
        assert paper.title
        assert paper.reference
        assert paper.claims
        for claim in paper.claims:
            assert claim.value > 0
            assert claim.table
            assert models.family_of(claim.model) is None or models.find(claim.model).name == claim.model


@pytest.mark.parametrize("name", data_files.names("recipes"))
def test_a_recipe_loads_and_names_what_exists(name: str) -> None:
    found = recipe.load(data_files.folder("recipes") / f"{name}.yaml")
    models.find(found.model).at_size(found.input_size)
    device = profiles.load(found.device or targets.find(found.target).DEVICE)
    profiles.for_target(device, found.target)
    targets.precision_of(found.target, found.precision)
    assert set(found.passes or ()) <= set(passes.names())
