"""An Xcode project that proves a Core ML artifact on an iPhone and times it there.

Unverified on hardware: no Mac has built one yet.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import artifact, publishing, scratch
from edgekit.artifact import Artifact
from edgekit.errors import UsageError
from edgekit.xcode import guide, project, reference, scheme

_SOURCES = Path(__file__).parent / "sources"
_OLDEST_IOS = 16
"""The first with a choice of CPU and Neural Engine without the GPU."""


@dataclass(frozen=True)
class Project:
    """A project that was written."""

    directory: Path
    commands: tuple[str, ...]
    """What to type on a Mac, in order; UDID stands for the phone's."""

    def as_dict(self) -> dict[str, Any]:
        """The project as `--json` prints it."""
        return {"directory": str(self.directory), "commands": list(self.commands)}


def write(directory: Path, output: Path, *, team: str = "", force: bool = False) -> Project:
    """Write the project that measures the artifact in `directory`, signed by the Apple developer `team`.

    `output` appears whole or not at all. Raises ArtifactError for a damaged artifact, UsageError for one that is not Core
    ML's and for what is no team's identifier, OutputError for an `output` that is there already.
    """
    loaded = artifact.load(directory)
    if loaded.manifest.target != "coreml":
        raise UsageError(
            f"{directory} is an artifact for {loaded.manifest.target}",
            cause="an Xcode project measures Core ML",
            next_step=f"edgekit export {loaded.manifest.recipe.model} --target coreml",
        )
    if team and not re.fullmatch(r"[A-Z0-9]{10}", team):
        raise UsageError(
            f"{team!r} is no team identifier",
            cause="Apple's have ten capital letters and digits",
            next_step="see developer.apple.com/account, Membership details",
        )
    proof = reference.FILES[-1]
    publishing.check_output(output, force=force, proof=proof)
    steps = guide.commands(directory, output)
    with scratch.folder() as work:
        _fill(work, loaded, team)
        (work / "README.md").write_text(guide.readme(loaded.manifest.model.name, steps), encoding="utf-8")
        publishing.publish(work, output, force=force, proof=proof)
    return Project(output, steps)


def _fill(work: Path, loaded: Artifact, team: str) -> None:
    shutil.copytree(loaded.model_file, work / project.PACKAGE)
    reference.write(loaded, work)
    shutil.copytree(_SOURCES, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    sources = {
        folder.name: sorted(path.name for path in folder.glob("*.swift"))
        for folder in sorted(_SOURCES.iterdir())
        if folder.is_dir()
    }
    text = project.pbxproj(sources=sources, resources=reference.FILES, minimum_ios=_minimum_ios(loaded), team=team)
    bundle = work / f"{project.APP}.xcodeproj"
    schemes = bundle / "xcshareddata" / "xcschemes"
    schemes.mkdir(parents=True)
    (bundle / "project.pbxproj").write_text(text, encoding="utf-8")
    (schemes / f"{project.APP}.xcscheme").write_text(scheme.scheme(), encoding="utf-8")
    (work / project.TEST_PLAN).write_text(scheme.test_plan(), encoding="utf-8")


def _minimum_ios(loaded: Artifact) -> str:
    """The oldest iOS that opens the artifact, as its device profile says."""
    oldest = loaded.manifest.device["runtimes"]["coreml"]["minimum_os"] or ""
    version = re.fullmatch(r"iOS(\d+)", oldest)
    return f"{max(_OLDEST_IOS, int(version[1]) if version else 0)}.0"
