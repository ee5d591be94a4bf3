"""The way of the data, in the one place that sees all of it:

recipe - model - capture - passes - quantize - lower - verify - artifact
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import (
    artifact,
    bisection,
    cache,
    parity,
    passes,
    profiles,
    publishing,
    quantize,
    reference_inputs,
    scratch,
    sources,
    targets,
)
from edgekit.artifact import Artifact, Manifest, ParityRecord
from edgekit.bisection import Bisection
from edgekit.errors import EdgekitError, Unsupported
from edgekit.isolation import Worker
from edgekit.passes import Changes
from edgekit.profiles import DeviceProfile, RuntimeProfile
from edgekit.quantize import admission, asking
from edgekit.recipe import Recipe
from edgekit.runtimes import TensorSpec
from edgekit.sources import LoadedModel

if TYPE_CHECKING:
    import torch

    from edgekit.profiling.measurement import OperatorProfile
    from edgekit.program import Function, Program

Progress = Callable[[str], None]

_LAYERS_TELL = "`edgekit evaluate` tells what accuracy it costs, and with --sensitivity which layers"
"""What is said of a quantized artifact that is not near enough, where every operator has its share in that."""

COMPARED_S = 2.0
"""Of timed runs of a quantized artifact, and of its original."""


@dataclass
class Stages:
    """Announces each stage as it begins and keeps the seconds it took."""

    announce: Progress
    taken_s: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.announce(name)
        started = time.perf_counter()
        yield
        self.taken_s[name] = round(time.perf_counter() - started, 3)


def export(
    recipe: Recipe,
    directory: Path,
    *,
    model: LoadedModel | None = None,
    force: bool = False,
    use_cache: bool = True,
    samples: Iterable[Mapping[str, torch.Tensor]] | None = None,
    announce: Progress = lambda stage: None,
) -> Artifact:
    """Make the artifact that `recipe` describes appear as `directory`, proven, or raise and leave nothing.

    `model` stands in for the one the recipe names when the caller has built it already, and `samples` for the calibration data
    that it names. Raises every EdgekitError.
    """
    target = targets.find(recipe.target)
    device = profiles.load(recipe.device or target.DEVICE)
    profile = profiles.for_target(device, recipe.target)
    if recipe.max_batch is not None:
        profiles.require_dynamic_batch(device, recipe.target)
    recipe = admission.half_precision(recipe)
    recipe = recipe.model_copy(update={"precision": targets.precision_of(recipe.target, recipe.precision)})
    order = passes.order_of(recipe.passes, recipe.approximations)
    publishing.check_output(directory, force=force)
    if recipe.quantize is not None:
        profile = admission.checked(recipe, profile, given=samples is not None)

    given = model
    identity = sources.identity(recipe) if model is None and samples is None else None
    if identity and recipe.quantize is not None:
        identity += admission.identity(recipe)
    if use_cache and identity and (found := cache.find(cache.key(recipe, device, identity))):
        return _from_cache(found, directory, force=force)

    stage = Stages(announce)
    with Worker(preload=target.REQUIRES) as worker, _workspace() as work:
        with stage("imports"):
            importlib.import_module("edgekit.program")  # here, because torch takes a second, and a cached export needs none
        with stage("model"):
            model = model or sources.load(recipe)
            calibration = quantize.read_samples(recipe, model, samples)
        with stage("capture"):
            program = model.captured(recipe)
        key = cache.key(recipe, device, identity or f"{program.fingerprint()} {calibration.digest}")
        if use_cache and (found := cache.find(key)):
            return _from_cache(found, directory, force=force)
        with stage("passes"):
            approximated = _approximated(program, profile, order)
            spectral = quantize.spectral_modules(program)
            changes = passes.run(program, profile, order)
        record, folded = None, program
        if recipe.quantize is not None:
            with stage("quantize"):
                timed = _operator_times(worker, recipe, profile, work) if device.transport == profiles.HOST else None
                request = asking.request(program, profile, recipe, calibration, model.name, spectral, announce, timed)
                program, record = quantize.run(request, calibration, work)
        with stage("hand over"):
            saved = _saved(program, recipe.target, work)
        with stage("lower"):
            files = _lowered(worker, saved, recipe.target, profile, work)
        with stage("verify"):
            proof = parity.prove(
                worker,
                files[0],
                model.module,
                folded.functions["forward"],
                recipe,
                approximated,
                stored=_as_stored(program),
                samples=calibration.samples,
            )
            proof = parity.require(
                proof,
                lambda: _why_wrong(worker, saved, files[0], recipe, model, profile, order),
                lambda: _LAYERS_TELL if recipe.quantize else _departs(worker, saved, files[0], recipe, "precision"),
                # Another checkpoint may well be content with so few bits: a warning, unless a bound was stated.
                tolerant=program.is_reduced and "precision_sqnr_db" not in recipe.model_fields_set,
            )
        if record is not None:
            with stage("compare"):
                record = record.model_copy(update={"speed": _speed(recipe, device, given, files[0], work)})
        with stage("write"):
            built = files[0].parent
            if record is not None:
                shutil.move(work / artifact.PLAN, built)
            artifact.write_manifest(built, _manifest(recipe, device, model, program, changes, record, files, proof, stage))
            cache.keep(built, key)
            publishing.publish(built, directory, force=force)
    return artifact.load(directory)


def _from_cache(found: Artifact, directory: Path, *, force: bool) -> Artifact:
    publishing.publish(found.directory, directory, force=force)
    return replace(found, directory=directory)


@contextlib.contextmanager
def _workspace() -> Iterator[Path]:
    """A temporary folder. Raises Unsupported when there is none, or what is written into it finds no space."""
    try:
        with scratch.folder() as work:
            yield work
    except OSError as error:
        if not publishing.is_full(error) and "temporary directory" not in str(error):  # tempfile's words for "none"
            raise
        raise Unsupported(
            "the temporary folder takes no more files",
            cause=str(error.strerror or error),
            next_step="free some space, or set TMPDIR to a folder on another disk; nothing was published",
        ) from error


def _saved(program: Program, target: str, work: Path) -> Path:
    """The folder through which the worker gets the program. Raises Unsupported when the disk is too full to lower it."""
    saved = work / "program"
    saved.mkdir()
    program.save(saved)
    needed, free = sum(file.stat().st_size for file in saved.iterdir()), shutil.disk_usage(work).free
    if free < needed:  # a converter that finds the disk full says so in its own words, or not at all
        raise Unsupported(
            f"lowering to {target} takes {needed / 2**20:.0f} MiB of temporary space at least",
            cause=f"{work.parent} has {free / 2**20:.0f} MiB left",
            next_step="free some space, or set TMPDIR to a folder on another disk",
        )
    return saved


def _lowered(worker: Worker, saved: Path, target: str, profile: RuntimeProfile, work: Path) -> list[Path]:
    """The model's files, made in the worker."""
    built = work / "artifact"
    built.mkdir()
    files: list[Path] = worker.call("edgekit.targets:lower_saved", target, saved, profile, built, stage=f"lowering to {target}")
    return files


def _operator_times(
    worker: Worker, recipe: Recipe, profile: RuntimeProfile, work: Path
) -> Callable[[Sequence[Program]], Sequence[OperatorProfile]]:
    """What tells where the time of each of a few programs with one border goes, lowered as the recipe's target does it and run
    on this machine. A runtime that does not tell is asked for the first alone."""

    timing = "edgekit.profiling.operators"

    def lowered(program: Program, folder: Path) -> Path:
        folder.mkdir()
        return _lowered(worker, _saved(program.copy(), recipe.target, folder), recipe.target, profile, folder)[0]

    def measure(programs: Sequence[Program]) -> list[OperatorProfile]:
        forward = programs[0].functions["forward"]
        given = *forward.border(), [tensor.numpy() for tensor in forward.example_inputs.values()]
        with scratch.folder(work) as folder:
            files = [lowered(programs[0], folder / "0")]
            first: OperatorProfile = worker.call(f"{timing}:of_file", files[0], *given, stage="timing operators")
            if first.reason is not None:
                return [first for _ in programs]
            files += [lowered(program, folder / str(place)) for place, program in enumerate(programs[1:], 1)]
            found: list[OperatorProfile] = worker.call(f"{timing}:of_files", files, *given, stage="timing operators")
            return found

    return measure


def _approximated(program: Program, profile: RuntimeProfile, order: Sequence[str]) -> Function | None:
    """The captured graph with the approximations that were asked for and nothing else: what the conversion must keep."""
    plain = passes.through_approximations(order)
    if not plain:
        return None
    copied = program.copy()
    passes.run(copied, profile, plain)
    return copied.functions["forward"]


def _as_stored(program: Program) -> parity.Stored:
    """The graph with the weights and integers that the artifact has."""
    from edgekit import stored_weights
    from edgekit.quantize.unrounded import rounds, unrounded

    forward = program.functions["forward"]
    if not program.is_reduced:
        return parity.Stored()
    graph_module = forward.graph_module
    if program.precision == "fp16":
        graph_module = stored_weights.rounded(graph_module)
    if not rounds(graph_module):
        return parity.Stored(replace(forward, graph_module=graph_module))
    return parity.Stored(replace(forward, graph_module=unrounded(graph_module)), replace(forward, graph_module=graph_module))


def _speed(recipe: Recipe, device: DeviceProfile, model: LoadedModel | None, quantized: Path, work: Path) -> artifact.Speed:
    """How much faster the quantized model file is than the same model's in floating point, measured where the device is this
    machine. Nothing that fails here fails the export."""
    from edgekit import profiling
    from edgekit.profiling import comparison

    if device.transport != profiles.HOST:
        return artifact.Speed(reason=f"{device.name} is not this machine: compare both there with `edgekit compare`")
    try:
        plain = recipe.model_copy(update={"quantize": None})
        original = export(plain, work / "original", model=model)
        settings = profiling.Settings(duration_s=COMPARED_S)
        floating, integers = profiling.profile([original.directory, quantized], settings=settings)
    except EdgekitError as error:
        return artifact.Speed(reason="; ".join(filter(None, (error.what, error.cause))))
    found = comparison.compare(integers, floating)
    ratio = found.ratio
    return artifact.Speed(ratio=ratio.value, low=ratio.low, high=ratio.high, verdict=found.verdict, reason=ratio.reason)


def _why_wrong(
    worker: Worker,
    saved: Path,
    model_file: Path,
    recipe: Recipe,
    model: LoadedModel,
    profile: RuntimeProfile,
    order: Sequence[str],
) -> str:
    """What is known of why the conversion misses its bound. Raises ConversionError naming the pass, where it is one."""
    said = (
        reference_inputs.jumps(model.module, model_file.parent / artifact.REFERENCE),
        _exactness_of_passes(model, profile, order, recipe.max_batch),
        _departs(worker, saved, model_file, recipe, "conversion"),
    )
    return "; ".join(filter(None, said))


def _departs(worker: Worker, saved: Path, model_file: Path, recipe: Recipe, question: str) -> str:
    """The operator at which the artifact departs from the saved program, in words; empty where its target cannot tell."""
    if not bisection.can_bisect(recipe.target):
        return ""
    reference, stage = model_file.parent / artifact.REFERENCE, "finding the operator that departs"
    found: Bisection = worker.call("edgekit.bisection:find_saved", saved, model_file, reference, recipe, stage=stage)
    culprit = {"conversion": found.conversion, "precision": found.precision}[question].culprit
    return "" if culprit is None else str(culprit)


def _exactness_of_passes(model: LoadedModel, profile: RuntimeProfile, order: Sequence[str], max_batch: int | None) -> str:
    """Run the passes once more, in float64 and checked one by one: raises ConversionError naming the one that is not
    exact, or says that all are."""
    from edgekit.program import capture

    double = copy.deepcopy(model.module).double()
    inputs = {name: t.double() if t.is_floating_point() else t for name, t in model.inputs.items()}
    passes.run(capture(double, inputs, model.output_names, max_batch), profile, order, check=True)
    return "every pass is exact in float64, so the converter or its runtime differs"


def _manifest(
    recipe: Recipe,
    device: DeviceProfile,
    model: LoadedModel,
    program: Program,
    changes: list[Changes],
    quantization: artifact.Quantization | None,
    files: list[Path],
    proof: ParityRecord,
    stages: Stages,
) -> Manifest:
    inputs, outputs = program.functions["forward"].border()
    return Manifest(
        model=artifact.Model(
            name=model.name,
            weights=model.weights,
            weights_sha256=model.weights_sha256,
            parameters=program.parameter_count(),
            macs=program.macs(),
            operators=program.operator_count(),
            labels=model.labels,
            source=model.source,
        ),
        target=recipe.target,
        precision=program.precision,
        quantization=quantization,
        inputs=tuple(_tensor(spec, model.preprocessing) for spec in inputs),
        outputs=tuple(_tensor(spec) for spec in outputs),
        files=artifact.list_files(files[0].parent, files),
        device=device.model_dump(mode="json"),
        passes=tuple(
            artifact.PassRecord(
                name=c.name,
                approximate=c.approximate,
                changed=c.changed,
                refusals=tuple(artifact.Refusal(node=r.node, reason=r.reason) for r in c.refusals),
            )
            for c in changes
        ),
        parity=proof,
        stages_s=stages.taken_s,
        versions=cache.tool_versions(),
        recipe=recipe,
    )


def _tensor(spec: TensorSpec, preprocessing: artifact.Preprocessing | None = None) -> artifact.Tensor:
    """An input or output as the manifest keeps it."""
    return artifact.Tensor(
        name=spec.name, shape=spec.shape, dtype=spec.dtype, max_shape=spec.max_shape, preprocessing=preprocessing
    )
