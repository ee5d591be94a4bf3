"""Whether what a recipe asks for can be asked at all, before any work is done."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import InputError, Unsupported, UsageError
from edgekit.quantize import plan as plans
from edgekit.quantize import schemes

if TYPE_CHECKING:
    from edgekit.profiles import RuntimeProfile
    from edgekit.recipe import Quantize, Recipe


def half_precision(recipe: Recipe) -> Recipe:
    """The recipe with `quantize: fp16` written as what it is, `precision: fp16`; any other as it is. Raises Unsupported for a
    target that does not compute in fp16, and UsageError beside `precision: fp32`."""
    from edgekit import targets

    if recipe.quantize is None or recipe.quantize.scheme != "fp16":
        return recipe
    if "fp16" not in targets.find(recipe.target).PRECISIONS:
        able = [name for name in targets.names() if "fp16" in targets.find(name).PRECISIONS]
        raise Unsupported(
            f"target {recipe.target} does not compute in fp16",
            cause=f"{' and '.join(able)} does",
            next_step=f"choose --target {able[0]}, or another scheme, such as int8-weight",
        )
    if recipe.precision == "fp32":
        raise UsageError("fp16 and precision fp32 exclude each other", next_step="leave one of them out")
    return recipe.model_copy(update={"precision": "fp16", "quantize": None})


def checked(recipe: Recipe, profile: RuntimeProfile, *, given: bool) -> RuntimeProfile:
    """The profile by which the graph is rewritten, once it is known that what the recipe asks for can be asked. `given` tells
    that the caller has samples.

    Raises UnknownName for a scheme that does not exist, InputError and UsageError for an unfit plan and for missing samples,
    and Unsupported where nothing is known of the runtime's integers.
    """
    assert recipe.quantize is not None
    settings = recipe.quantize
    _check_bounds(settings)
    if profile.integers is None:
        raise Unsupported(
            f"nothing is known of what {recipe.target} computes with integers on this device",
            cause="its device profile has no `integers`",
            next_step="choose another --device, or write what the runtime has into a profile of your own",
        )
    if _needs_samples(settings) and not given and settings.calibration is None:
        raise UsageError(
            f"{settings.scheme} needs calibration samples",
            cause="the ranges of activations are found by running the model on them",
            next_step="give --calibration DIR (images of the kind the model will see) or FILE.npz",
        )
    if settings.calibration is not None and not settings.calibration.exists():
        raise InputError(
            f"the calibration data {settings.calibration} do not exist",
            next_step="check the path: a folder of images, or an .npz",
        )
    return profile_for(plans.read(Path(settings.scheme)).scheme if settings.is_plan else settings.scheme, profile)


def profile_for(scheme: str, profile: RuntimeProfile) -> RuntimeProfile:
    """The profile by which the graph is rewritten that `scheme` makes a plan of: plans fit no other. Raises UnknownName."""
    assert profile.integers is not None
    of_integers = schemes.find(scheme)[0].CALIBRATED
    return profile.model_validate({**profile.model_dump(), **profile.integers.instead}) if of_integers else profile


def _check_bounds(settings: Quantize) -> None:
    """Raise UsageError unless exactly one bound is given to a scheme that takes bounds, and none to another."""
    taken: tuple[str, ...] = () if settings.is_plan else getattr(schemes.find(settings.scheme)[0], "BOUNDS", ())
    known = ("least_sqnr_db", "most_latency_ms", "most_size_mb")
    given = [name for name in known if getattr(settings, name) is not None]
    options = {name: f"--{name.replace('_', '-')}" for name in known}
    if given and not taken:
        raise UsageError(
            f"{settings.scheme} takes no {options[given[0]]}",
            cause="it does the same whatever the bound is",
            next_step=f"choose --quantize mixed, or leave {options[given[0]]} out",
        )
    if taken and len(given) != 1:
        raise UsageError(
            f"{settings.scheme} takes exactly one bound, not {len(given)}",
            cause=f"given: {', '.join(options[name] for name in given) or 'none'}",
            next_step=f"give one of {', '.join(options[name] for name in taken)}",
        )


def _needs_samples(settings: Quantize) -> bool:
    if settings.is_plan:
        return any(site.activation in ("uint8", "int8") for site in plans.read(Path(settings.scheme)).sites)
    return bool(schemes.find(settings.scheme)[0].CALIBRATED)


def identity(recipe: Recipe) -> str:
    """What stands for the content of the files that the recipe quantizes by; of a folder, its files' names, sizes and times."""
    settings, found = recipe.quantize, hashlib.sha256()
    if settings is None:
        return ""
    if settings.is_plan:
        found.update(Path(settings.scheme).read_bytes())
    if settings.calibration is not None:
        folder = settings.calibration
        for file in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            found.update(f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}".encode())
    return found.hexdigest()
