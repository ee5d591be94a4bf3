"""The program behind a published artifact, made once more from the model it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit import artifact, parity, passes, profiles, quantize, reference_inputs, sources
from edgekit.artifact import Artifact
from edgekit.errors import EdgekitError, InputError, ModelError, Unsupported, UsageError
from edgekit.profiles import DeviceProfile, RuntimeProfile
from edgekit.quantize import admission, asking
from edgekit.quantize import plan as plans
from edgekit.quantize.plan import Plan
from edgekit.sources import LoadedModel

if TYPE_CHECKING:
    import torch

    from edgekit.program import Program


def program_of(loaded: Artifact, module: torch.nn.Module | None = None) -> Program:
    """The program that an artifact was lowered from, made of what its recipe names, or of `module` where it was given as one.

    Raises ModelError when the model is gone or is another one, and Unsupported when this edgekit's passes rewrite it otherwise.
    """
    manifest, recipe = loaded.manifest, loaded.manifest.recipe
    program, profile = source_of(loaded, module).captured(recipe), _profile(loaded)
    changes = passes.run(program, profile, passes.order_of(recipe.passes, recipe.approximations))
    before, now = ({done.name: done.changed for done in ran if done.changed} for ran in (manifest.passes, changes))
    if before != now:
        others = [name for name in before | now if before.get(name) != now.get(name)]
        raise Unsupported(
            f"{loaded.directory} was made with other passes than this edgekit's",
            cause=f"{', '.join(others)} would rewrite its model otherwise",
            next_step="export it again, or bisect with the edgekit that made it",
        )
    reference = loaded.directory / artifact.REFERENCE
    kept = parity.of_graph(program.functions["forward"], reference, recipe.conversion_sqnr_db)
    if not kept.passed:
        raise _another_model(loaded, f"its outputs on the reference inputs are others: SQNR {kept.sqnr_db} dB")
    return program


def quantization_of(loaded: Artifact) -> tuple[asking.Request, Plan]:
    """What a quantized artifact's plan was made of, its calibration samples among it, and that plan.

    Raises UsageError for one that is not quantized, InputError where the calibration data are gone or others, and what
    `program_of` raises.
    """
    manifest, recipe = loaded.manifest, loaded.manifest.recipe
    made, settings = manifest.quantization, recipe.quantize
    if made is None or settings is None or made.calibration is None or settings.calibration is None:
        raise UsageError(
            f"{loaded.directory} tells no sensitivity",
            cause="it is not quantized" if made is None else "it was quantized without calibration data that can be read again",
            next_step="give an artifact that was exported with --quantize and --calibration",
        )
    if not settings.calibration.exists():
        raise InputError(
            f"the calibration data of {loaded.directory} are gone",
            cause=f"{settings.calibration} does not exist",
            next_step="bring them back to where they were, seen from this folder, or export again",
        )
    model = source_of(loaded)
    calibration = quantize.read_samples(recipe, model)
    if calibration.digest != made.calibration.sha256:
        raise InputError(
            f"the calibration data of {loaded.directory} are others now",
            cause=f"the samples drawn from {settings.calibration} have another hash",
            next_step="bring them back as they were, or export again",
        )
    request = asking.request(
        program_of(loaded), _profile(loaded), recipe, calibration, model.name, frozenset(), lambda stage: None
    )
    return request, plans.read(loaded.directory / artifact.PLAN)


def _profile(loaded: Artifact) -> RuntimeProfile:
    """The profile by which the artifact's graph was rewritten."""
    manifest = loaded.manifest
    profile = profiles.for_target(DeviceProfile.model_validate(manifest.device), manifest.target)
    return profile if manifest.quantization is None else admission.profile_for(manifest.quantization.scheme, profile)


def source_of(loaded: Artifact, module: torch.nn.Module | None = None) -> LoadedModel:
    """The model that an artifact was made from: `module`, or what its recipe names. Raises ModelError when it is gone or is
    another one."""
    manifest, recipe = loaded.manifest, loaded.manifest.recipe
    try:
        if module is None:
            model = sources.load(recipe)
        else:
            example = reference_inputs.example_of(loaded.directory / artifact.REFERENCE)
            model = sources.from_module(module, example, name=manifest.model.name)
    except EdgekitError as error:
        where = recipe.model if recipe.weights is None else f"{recipe.model} with {recipe.weights}"
        raise ModelError(
            f"{loaded.directory} cannot be bisected without the model it was made from",
            cause=": ".join(filter(None, (error.what, error.cause))),
            next_step=f"make {where} available from this folder, or give the module itself, in Python: "
            "edgekit.bisect(directory, module)",
        ) from error
    if model.weights_sha256 != manifest.model.weights_sha256:
        raise _another_model(loaded, "its weights are others")
    return model


def _another_model(loaded: Artifact, cause: str) -> ModelError:
    return ModelError(
        f"{loaded.manifest.recipe.model} is not the model that {loaded.directory} was made from",
        cause=cause,
        next_step="bring back the source and the weights as they were, or export again",
    )
