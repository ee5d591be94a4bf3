"""Projects that `edgekit xcode` writes, read by tools that know nothing of edgekit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import hypothesis.strategies as st
import pytest
from handmade import Build
from hypothesis import given

from edgekit import xcode
from edgekit.xcode import old_plist, scheme

pbxproj = pytest.importorskip("pbxproj", reason="reads Xcode projects: pip install '.[dev]'")
openstep_parser = pytest.importorskip("openstep_parser", reason="comes with pbxproj: pip install '.[dev]'")


@pytest.fixture
def project(made: Build, tmp_path: Path) -> Path:
    return xcode.write(made(), tmp_path / "pro jekt", team="ABCDE12345").directory


def _objects(project: Path) -> dict[str, dict[str, Any]]:
    text = (project / "Benchmark.xcodeproj" / "project.pbxproj").read_text(encoding="utf-8")
    return dict(openstep_parser.OpenStepDecoder.ParseFromString(text)["objects"])


def _built(project: Path, target: str, phase: str) -> list[str]:
    """The names of the files in a phase of a target, as pbxproj finds them."""
    read = pbxproj.XcodeProject.load(str(project / "Benchmark.xcodeproj" / "project.pbxproj"))
    [found] = [t for t in read.objects.get_targets() if t.name == target]
    [phase_id] = [p for p in found.buildPhases if read.objects[p].isa == f"PBX{phase}BuildPhase"]
    return sorted(read.objects[read.objects[f].fileRef].path for f in read.objects[phase_id].files)


def test_the_model_is_compiled_and_its_reference_copied_into_the_app(project: Path) -> None:
    assert _built(project, "Benchmark", "Sources") == ["Artifact.mlpackage", "BenchmarkApp.swift", "ReferenceModel.swift"]
    assert _built(project, "Benchmark", "Resources") == ["EdgekitReference.bin", "EdgekitReference.json"]
    assert _built(project, "BenchmarkTests", "Sources") == ["BenchmarkTests.swift", "ReferenceModel.swift"]
    assert _built(project, "BenchmarkTests", "Resources") == []


def test_every_object_that_is_referred_to_is_there(project: Path) -> None:
    objects = _objects(project)
    single = ("fileRef", "buildConfigurationList", "mainGroup", "productRefGroup", "productReference", "target", "targetProxy")
    several = ("children", "files", "buildPhases", "buildConfigurations", "targets", "dependencies")
    for entry in objects.values():
        referred = [entry[key] for key in single if key in entry] + [one for key in several for one in entry.get(key, [])]
        assert not [one for one in referred if one not in objects], entry
    kinds = {entry["isa"] for entry in objects.values()}
    assert {"PBXProject", "PBXNativeTarget", "PBXTargetDependency", "XCConfigurationList", "PBXGroup"} <= kinds


def test_every_file_of_the_project_lies_where_its_groups_say(project: Path) -> None:
    objects = _objects(project)
    [root] = [entry["mainGroup"] for entry in objects.values() if entry["isa"] == "PBXProject"]
    found = set()

    def walk(identifier: str, folder: Path) -> None:
        entry = objects[identifier]
        for child in entry.get("children", []):
            walk(child, folder / entry.get("path", ""))
        if entry["isa"] == "PBXFileReference" and entry["sourceTree"] == "<group>":
            assert (folder / entry["path"]).exists(), entry
            found.add(entry["path"])

    walk(root, project)
    listed = {"App", "Shared", "Tests", "Benchmark.xcodeproj", "README.md"}
    assert {path.name for path in project.iterdir()} - listed <= found


def test_settings_are_those_of_the_artifact_and_the_team(project: Path) -> None:
    settings = [entry["buildSettings"] for entry in _objects(project).values() if entry["isa"] == "XCBuildConfiguration"]
    merged = {key: value for one in settings for key, value in one.items()}
    assert merged["DEVELOPMENT_TEAM"] == "ABCDE12345"
    assert merged["IPHONEOS_DEPLOYMENT_TARGET"] == "18.0"
    assert merged["SWIFT_OPTIMIZATION_LEVEL"] == "-O"
    hosts = [one["TEST_HOST"] for one in settings if "TEST_HOST" in one]
    assert hosts == ["$(BUILT_PRODUCTS_DIR)/Benchmark.app/$(BUNDLE_EXECUTABLE_FOLDER_PATH)/Benchmark"]
    names = {entry["name"] for entry in _objects(project).values() if entry["isa"] == "XCBuildConfiguration"}
    assert names == {"Release"}


def test_the_scheme_refers_to_the_project_s_targets_and_its_test_plan(project: Path) -> None:
    objects = _objects(project)
    shared = project / "Benchmark.xcodeproj" / "xcshareddata" / "xcschemes" / "Benchmark.xcscheme"
    root = ElementTree.parse(shared).getroot()
    references = list(root.iter("BuildableReference"))
    assert references
    for reference in references:
        target = objects[reference.attrib["BlueprintIdentifier"]]
        assert target["name"] == reference.attrib["BlueprintName"]
        assert objects[target["productReference"]]["path"] == reference.attrib["BuildableName"]
        assert reference.attrib["ReferencedContainer"] == "container:Benchmark.xcodeproj"
    [plan] = root.iter("TestPlanReference")
    assert (project / plan.attrib["reference"].removeprefix("container:")).is_file()
    test = root.find("TestAction")
    assert test is not None
    assert test.attrib["buildConfiguration"] == "Release"
    assert test.attrib["selectedDebuggerIdentifier"] == ""


def test_the_test_plan_has_a_configuration_for_each_choice_of_compute_units(project: Path) -> None:
    plan = json.loads((project / "Benchmark.xctestplan").read_text(encoding="utf-8"))
    [tested] = plan["testTargets"]
    assert _objects(project)[tested["target"]["identifier"]]["name"] == tested["target"]["name"] == "BenchmarkTests"
    chosen = {one["name"]: one["options"]["environmentVariableEntries"] for one in plan["configurations"]}
    assert chosen == {units: [{"key": "EDGEKIT_COMPUTE_UNITS", "value": units}] for units in scheme.COMPUTE_UNITS}
    assert len({one["id"] for one in plan["configurations"]}) == 4
    assert plan["defaultOptions"]["codeCoverage"] is False


def test_the_tests_know_every_choice_of_compute_units_of_the_plan(project: Path) -> None:
    swift = (project / "Tests" / "BenchmarkTests.swift").read_text(encoding="utf-8")
    assert f'"{scheme.VARIABLE}"' in swift
    assert not [units for units in scheme.COMPUTE_UNITS if f'case "{units}": return .{units}' not in swift]


def test_swift_sources_parse(project: Path) -> None:
    tree_sitter = pytest.importorskip("tree_sitter", reason="parses Swift: pip install '.[dev]'")
    grammar = pytest.importorskip("tree_sitter_swift", reason="parses Swift: pip install '.[dev]'")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    sources = sorted(project.rglob("*.swift"))
    assert len(sources) == 3
    for source in sources:
        assert not parser.parse(source.read_bytes()).root_node.has_error, source


@pytest.mark.skipif(shutil.which("swiftc") is None, reason="no Swift toolchain here")
@pytest.mark.slow
def test_swift_sources_are_taken_by_the_compiler(project: Path) -> None:
    app, shared, tests = (sorted(map(str, (project / folder).glob("*.swift"))) for folder in ("App", "Shared", "Tests"))
    mac = sys.platform == "darwin"  # only there are Core ML and XCTest's metrics
    compiler = ["xcrun", "--sdk", "iphoneos", "swiftc", "-target", "arm64-apple-ios18.0"] if mac else ["swiftc"]
    for sources in (app + shared, tests + shared):
        how = ["-typecheck", "-parse-as-library"] if mac else ["-parse"]
        done = subprocess.run([*compiler, *how, *sources], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


_KEY = st.text("abcXYZ_09", min_size=1, max_size=5)
_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('"\\\n\t;{}()=,/* $'), max_size=12)


@given(st.dictionaries(_KEY, _TEXT | st.lists(_TEXT, max_size=3) | st.dictionaries(_KEY, _TEXT), max_size=4))
def test_old_property_lists_are_read_back_as_they_were(value: dict[str, Any]) -> None:
    assert openstep_parser.OpenStepDecoder.ParseFromString(old_plist.dumps(value)) == value
