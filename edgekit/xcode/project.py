"""`project.pbxproj`: an app that holds the model and its reference, and the tests that run inside it.

There is one build configuration, Release: what a debug build takes is nobody's latency.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from edgekit.xcode.old_plist import Value, dumps

APP = "Benchmark"
TESTS = "BenchmarkTests"
PACKAGE = "Artifact.mlpackage"
TEST_PLAN = f"{APP}.xctestplan"

_KINDS = {
    ".swift": "sourcecode.swift",
    ".mlpackage": "folder.mlpackage",
    ".json": "text.json",
    ".bin": "file",
    ".xctestplan": "text",
}

Object = Mapping[str, Value]


def identifier(role: str) -> str:
    """The 24 hexadecimal digits by which the project's files refer to an object; the same for the same role."""
    return hashlib.sha256(role.encode()).hexdigest()[:24].upper()


def pbxproj(*, sources: Mapping[str, Sequence[str]], resources: Sequence[str], minimum_ios: str, team: str) -> str:
    """The project's text. `sources` are the Swift files by folder: App's are the app's, Tests' the tests', all others both's;
    `resources` lie beside the project and are copied into the app."""
    files = [f"{folder}/{name}" for folder, names in sources.items() for name in names]
    of_app = [path for path in files if not path.startswith("Tests/")]
    of_tests = [path for path in files if not path.startswith("App/")]
    objects: dict[str, Object] = {}
    for path in (*files, *resources, PACKAGE, TEST_PLAN):
        objects[identifier(path)] = _file(path, path.rpartition("/")[2])
    objects |= _groups(sources, (PACKAGE, *resources, TEST_PLAN))
    # Core ML packages are compiled, so they are among the sources: among the resources they would be copied as they are.
    objects |= _target(APP, "com.apple.product-type.application", f"{APP}.app", [*of_app, PACKAGE], resources, _APP)
    objects |= _target(TESTS, "com.apple.product-type.bundle.unit-test", f"{TESTS}.xctest", of_tests, (), _TESTS)
    objects |= _dependency()
    objects |= _project(minimum_ios, team)
    ordered = dict(sorted(objects.items(), key=lambda entry: (str(entry[1]["isa"]), entry[0])))
    top: dict[str, Value] = {
        "archiveVersion": "1",
        "classes": {},
        "objectVersion": "56",
        "objects": ordered,
        "rootObject": identifier("project"),
    }
    return dumps(top)


def _file(path: str, name: str) -> Object:
    kind = _KINDS[f".{name.rpartition('.')[2]}"]
    return {"isa": "PBXFileReference", "lastKnownFileType": kind, "path": name, "sourceTree": "<group>"}


def _groups(sources: Mapping[str, Sequence[str]], beside: Sequence[str]) -> dict[str, Object]:
    folders: dict[str, Object] = {
        identifier(f"group {folder}"): {
            "isa": "PBXGroup",
            "children": [identifier(f"{folder}/{name}") for name in names],
            "path": folder,
            "sourceTree": "<group>",
        }
        for folder, names in sources.items()
    }
    products = identifier("group Products")
    return folders | {
        products: {
            "isa": "PBXGroup",
            "children": [identifier(f"product {APP}"), identifier(f"product {TESTS}")],
            "name": "Products",
            "sourceTree": "<group>",
        },
        identifier("group"): {
            "isa": "PBXGroup",
            "children": [*folders, *map(identifier, beside), products],
            "sourceTree": "<group>",
        },
    }


def _target(
    name: str, kind: str, product: str, sources: Sequence[str], resources: Sequence[str], settings: Object
) -> dict[str, Object]:
    """A native target, its product, its build phases and its settings."""
    wrapper = "wrapper.application" if product.endswith(".app") else "wrapper.cfbundle"
    phases: dict[str, Object] = {}
    built: dict[str, Object] = {}
    for phase, members in (("Sources", sources), ("Frameworks", ()), ("Resources", resources)):
        phases[identifier(f"{name} {phase}")] = {
            "isa": f"PBX{phase}BuildPhase",
            "buildActionMask": "2147483647",
            "files": [identifier(f"{name} builds {path}") for path in members],
            "runOnlyForDeploymentPostprocessing": "0",
        }
        built |= {identifier(f"{name} builds {path}"): {"isa": "PBXBuildFile", "fileRef": identifier(path)} for path in members}
    target: Object = {
        "isa": "PBXNativeTarget",
        "buildConfigurationList": identifier(f"configurations {name}"),
        "buildPhases": list(phases),
        "buildRules": [],
        "dependencies": [identifier("dependency")] if name == TESTS else [],
        "name": name,
        "productName": name,
        "productReference": identifier(f"product {name}"),
        "productType": kind,
    }
    reference: Object = {
        "isa": "PBXFileReference",
        "explicitFileType": wrapper,
        "includeInIndex": "0",
        "path": product,
        "sourceTree": "BUILT_PRODUCTS_DIR",
    }
    own = {identifier(f"target {name}"): target, identifier(f"product {name}"): reference}
    return own | phases | built | _configurations(name, settings)


def _configurations(owner: str, settings: Object) -> dict[str, Object]:
    release = identifier(f"release {owner}")
    return {
        release: {"isa": "XCBuildConfiguration", "buildSettings": settings, "name": "Release"},
        identifier(f"configurations {owner}"): {
            "isa": "XCConfigurationList",
            "buildConfigurations": [release],
            "defaultConfigurationIsVisible": "0",
            "defaultConfigurationName": "Release",
        },
    }


def _dependency() -> dict[str, Object]:
    """The tests are built after the app."""
    return {
        identifier("dependency"): {
            "isa": "PBXTargetDependency",
            "target": identifier(f"target {APP}"),
            "targetProxy": identifier("proxy"),
        },
        identifier("proxy"): {
            "isa": "PBXContainerItemProxy",
            "containerPortal": identifier("project"),
            "proxyType": "1",
            "remoteGlobalIDString": identifier(f"target {APP}"),
            "remoteInfo": APP,
        },
    }


def _project(minimum_ios: str, team: str) -> dict[str, Object]:
    settings: Object = {
        "ALWAYS_SEARCH_USER_PATHS": "NO",
        "CLANG_ENABLE_MODULES": "YES",
        "CODE_SIGN_STYLE": "Automatic",
        "COREML_CODEGEN_LANGUAGE": "None",  # the model is opened by its file
        "CURRENT_PROJECT_VERSION": "1",
        "DEVELOPMENT_TEAM": team,
        "ENABLE_USER_SCRIPT_SANDBOXING": "YES",
        "GENERATE_INFOPLIST_FILE": "YES",
        "IPHONEOS_DEPLOYMENT_TARGET": minimum_ios,
        "MARKETING_VERSION": "1.0",
        "PRODUCT_NAME": "$(TARGET_NAME)",
        "SDKROOT": "iphoneos",
        "SUPPORTED_PLATFORMS": "iphoneos iphonesimulator",
        "SWIFT_COMPILATION_MODE": "wholemodule",
        "SWIFT_OPTIMIZATION_LEVEL": "-O",
        "SWIFT_VERSION": "5.0",
        "TARGETED_DEVICE_FAMILY": "1,2",
        "VALIDATE_PRODUCT": "NO",
    }
    project: Object = {
        "isa": "PBXProject",
        "attributes": {
            "BuildIndependentTargetsInParallel": "1",
            "TargetAttributes": {identifier(f"target {TESTS}"): {"TestTargetID": identifier(f"target {APP}")}},
        },
        "buildConfigurationList": identifier("configurations project"),
        "compatibilityVersion": "Xcode 14.0",
        "developmentRegion": "en",
        "hasScannedForEncodings": "0",
        "knownRegions": ["en", "Base"],
        "mainGroup": identifier("group"),
        "productRefGroup": identifier("group Products"),
        "projectDirPath": "",
        "projectRoot": "",
        "targets": [identifier(f"target {APP}"), identifier(f"target {TESTS}")],
    }
    return {identifier("project"): project} | _configurations("project", settings)


_BUNDLE = "edgekit.team$(DEVELOPMENT_TEAM)"
"""Bundle identifiers are taken once among all of Apple's developers: with the team's in it, nobody else has this one."""

_APP: Object = {
    "INFOPLIST_KEY_UIApplicationSceneManifest_Generation": "YES",
    "INFOPLIST_KEY_UILaunchScreen_Generation": "YES",
    "LD_RUNPATH_SEARCH_PATHS": ["$(inherited)", "@executable_path/Frameworks"],
    "PRODUCT_BUNDLE_IDENTIFIER": f"{_BUNDLE}.benchmark",
}
_TESTS: Object = {
    "BUNDLE_LOADER": "$(TEST_HOST)",
    "LD_RUNPATH_SEARCH_PATHS": ["$(inherited)", "@executable_path/Frameworks", "@loader_path/Frameworks"],
    "PRODUCT_BUNDLE_IDENTIFIER": f"{_BUNDLE}.benchmark.tests",
    "TEST_HOST": f"$(BUILT_PRODUCTS_DIR)/{APP}.app/$(BUNDLE_EXECUTABLE_FOLDER_PATH)/{APP}",
}
