"""What works on this machine, and how to get what does not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from edgekit import cache, targets
from edgekit.devices.link.shell import LocalShell
from edgekit.errors import EdgekitError
from edgekit.isolation import REINSTALL, Worker
from edgekit.profiling import energy


@dataclass(frozen=True)
class Finding:
    """One capability; `works` is None where there is nothing to decide."""

    what: str
    works: bool | None
    detail: str
    next_step: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Finding]:
    """Every finding, the machine first."""
    return [
        _machine(),
        _versions(),
        *(_target(name) for name in targets.names()),
        _core_ml_execution(),
        _energy("the processor", None),
        *([_energy("the GPU", 0)] if shutil.which("nvidia-smi") else []),
        _cache(),
    ]


def _machine() -> Finding:
    memory_gib = psutil.virtual_memory().total / 2**30
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    detail = (
        f"{platform.system()} {platform.machine()}, {cores} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}"
    )
    return Finding("machine", None, detail)


def _versions() -> Finding:
    wrong = []
    for requirement in importlib.metadata.requires("edgekit") or []:
        pinned = re.fullmatch(r"([\w.-]+)==([\w.]+)", requirement)
        if pinned is None:
            continue  # an extra's
        try:
            installed = importlib.metadata.version(pinned[1])
        except importlib.metadata.PackageNotFoundError:
            installed = "missing"
        if installed.split("+")[0] != pinned[2]:
            wrong.append(f"{pinned[1]} {installed}, tested with {pinned[2]}")
    if wrong:
        return Finding("package versions", False, "; ".join(wrong), REINSTALL)
    return Finding("package versions", True, "all as tested")


def _target(name: str) -> Finding:
    """Whether the target's converter imports, tried in a process of its own."""
    try:
        with Worker(preload=targets.find(name).REQUIRES) as worker:
            worker.call("edgekit.targets:names", stage=f"importing the {name} converter")  # answers once all is imported
    except EdgekitError as error:
        return Finding(f"export to {name}", False, error.cause or error.what, error.next_step or REINSTALL)
    return Finding(f"export to {name}", True, "the converter imports")


def _core_ml_execution() -> Finding:
    if sys.platform == "darwin":
        return Finding("run Core ML artifacts", True, "through coremltools (unverified on hardware)")
    return Finding("run Core ML artifacts", True, "with edgekit's reference interpreter, for parity; for timings use a Mac")


def _energy(of: str, gpu: int | None) -> Finding:
    what, found = f"energy of {of}", energy.find(LocalShell(), gpu)
    if isinstance(found, energy.Meter):
        return Finding(what, True, f"{found.name}: {found.scope}; {found.method}")
    return Finding(what, False, found.reason or found.status, "docs/energy.md tells what each kind of device can measure")


def _cache() -> Finding:
    where = cache.folder()
    existing = next(path for path in (where, *where.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return Finding("cache", False, f"{where} cannot be written: nothing is kept", "set EDGEKIT_CACHE to a folder that can")
    free_gib, used_mib = shutil.disk_usage(existing).free / 2**30, cache.size_bytes() / 2**20
    detail = f"{where}: {used_mib:.0f} MiB used, {free_gib:.0f} GiB free"
    if free_gib < 1:
        return Finding("cache", False, detail, f"free some space ({where} may be removed), or set EDGEKIT_CACHE")
    return Finding("cache", True, detail)
