"""The shared scheme and its test plan: one configuration for each choice of compute units, nothing that slows a run."""

from __future__ import annotations

import json
import uuid
from xml.etree import ElementTree

from edgekit.xcode.project import APP, TEST_PLAN, TESTS, identifier

COMPUTE_UNITS = ("all", "cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine")
VARIABLE = "EDGEKIT_COMPUTE_UNITS"

_CONTAINER = f"container:{APP}.xcodeproj"


def test_plan() -> str:
    """The test plan: a configuration is named as Core ML names the compute units that its tests open the model on."""
    plan = {
        "configurations": [
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"edgekit {units}")).upper(),
                "name": units,
                "options": {"environmentVariableEntries": [{"key": VARIABLE, "value": units}]},
            }
            for units in COMPUTE_UNITS
        ],
        "defaultOptions": {
            "codeCoverage": False,
            "diagnosticCollectionPolicy": "Never",
            "testTimeoutsEnabled": False,
            "userAttachmentLifetime": "keepAlways",
        },
        "testTargets": [
            {
                "parallelizable": False,
                "target": {"containerPath": _CONTAINER, "identifier": identifier(f"target {TESTS}"), "name": TESTS},
            }
        ],
        "version": 1,
    }
    return json.dumps(plan, indent=2) + "\n"


def scheme() -> str:
    """The scheme's XML. Tests run without a debugger, which would slow them."""
    root = ElementTree.Element("Scheme", LastUpgradeVersion="1630", version="1.7")
    build = ElementTree.SubElement(root, "BuildAction", parallelizeBuildables="YES", buildImplicitDependencies="YES")
    entries = ElementTree.SubElement(build, "BuildActionEntries")
    for target, product in ((APP, f"{APP}.app"), (TESTS, f"{TESTS}.xctest")):
        run = "YES" if target == APP else "NO"
        entry = ElementTree.SubElement(
            entries,
            "BuildActionEntry",
            buildForTesting="YES",
            buildForRunning=run,
            buildForProfiling=run,
            buildForArchiving=run,
            buildForAnalyzing=run,
        )
        _buildable(entry, target, product)
    test = ElementTree.SubElement(
        root,
        "TestAction",
        buildConfiguration="Release",
        selectedDebuggerIdentifier="",
        selectedLauncherIdentifier="Xcode.IDEFoundation.Launcher.PosixSpawn",
        shouldUseLaunchSchemeArgsEnv="NO",
    )
    plans = ElementTree.SubElement(test, "TestPlans")
    ElementTree.SubElement(plans, "TestPlanReference", reference=f"container:{TEST_PLAN}", default="YES")
    for action in ("LaunchAction", "ProfileAction"):
        element = ElementTree.SubElement(root, action, buildConfiguration="Release", useCustomWorkingDirectory="NO")
        runnable = ElementTree.SubElement(element, "BuildableProductRunnable", runnableDebuggingMode="0")
        _buildable(runnable, APP, f"{APP}.app")
    ElementTree.SubElement(root, "AnalyzeAction", buildConfiguration="Release")
    ElementTree.SubElement(root, "ArchiveAction", buildConfiguration="Release", revealArchiveInOrganizer="YES")
    ElementTree.indent(root, "   ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _buildable(parent: ElementTree.Element, target: str, product: str) -> None:
    ElementTree.SubElement(
        parent,
        "BuildableReference",
        BuildableIdentifier="primary",
        BlueprintIdentifier=identifier(f"target {target}"),
        BuildableName=product,
        BlueprintName=target,
        ReferencedContainer=_CONTAINER,
    )
