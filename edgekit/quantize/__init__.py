"""Quantization of the rewritten graph: what each operator becomes is a plan, which a scheme makes and `insert` writes.

scheme (or a plan's file) - plan - ranges from calibration - quantized graph

The quantized graph is one that PyTorch executes: artifacts are compared with it. Schemes never ask for the target's name,
but for what its runtime computes with integers (`RuntimeProfile.integers`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgekit.errors import ConversionError, InputError, Unsupported, UsageError
from edgekit.quantize import plan as plans
from edgekit.quantize import schemes
from edgekit.quantize.plan import Assignment, Plan

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import Node

    from edgekit import artifact
    from edgekit.borders import Tensors
    from edgekit.profiles import IntegerSupport, RuntimeProfile
    from edgekit.profiling.measurement import OperatorProfile
    from edgekit.program import Program
    from edgekit.quantize import insert
    from edgekit.quantize.calibration import Calibration
    from edgekit.quantize.ranges import Histogram, Range
    from edgekit.quantize.sites import Site
    from edgekit.recipe import Quantize, Recipe
    from edgekit.sources import LoadedModel

_SHOWN = 3
"""Reasons that an error repeats."""


@dataclass
class Request:
    """All that a scheme may ask about."""

    program: Program
    """The rewritten graph, in floating point; it stays as it is."""
    support: IntegerSupport
    settings: Quantize
    samples: Sequence[Tensors]
    """Calibration samples; none where none were given."""
    model: str
    """Its name."""
    spectral: frozenset[str] = frozenset()
    """The modules that transform to frequencies: they stay in floating point."""
    announce: Callable[[str], None] = lambda stage: None
    scaled: tuple[str, ...] = ()
    """The nodes of `program` whose channels were scaled for quantization."""
    operator_times: Callable[[Program], OperatorProfile] | None = None
    """Where the time of a run goes once this program is lowered, on this machine; None where that is not the device."""
    _histograms: dict[Node, Histogram] = field(default_factory=dict)
    _ranges: dict[Node, Range] = field(default_factory=dict)
    _means: dict[Node, Tensor] = field(default_factory=dict)

    @cached_property
    def sites(self) -> list[Site]:
        """The operators that compute, in execution order."""
        from edgekit.quantize import sites

        return sites.find(self.program.functions["forward"].graph_module)

    @cached_property
    def normalizing(self) -> frozenset[Node]:
        """The operators of normalizations that are written out: they stay in floating point."""
        from edgekit.quantize import normalization

        return normalization.parts(self.program.functions["forward"].graph_module)

    def is_spectral(self, site: Site) -> bool:
        """Whether the module that an operator is from, or one around that, transforms to frequencies."""
        return any(site.module == path or (path and site.module.startswith(f"{path}.")) for path in self.spectral)

    def histograms(self, nodes: Sequence[Node]) -> dict[Node, Histogram]:
        """What those tensors were over the calibration samples; each is watched once."""
        from edgekit.quantize import observe

        missing = [node for node in nodes if node not in self._histograms]
        if missing:
            self.announce("calibrate")
            self._histograms |= observe.histograms(self.program.functions["forward"], missing, self.samples)
        return {node: self._histograms[node] for node in nodes}

    def ranges(self, nodes: Sequence[Node]) -> dict[Node, Range]:
        """What integers are to cover of those tensors; each is estimated once."""
        from edgekit.quantize import insert, ranges

        estimate = ranges.ESTIMATORS[self.settings.ranges]
        missing = [node for node in nodes if node not in self._ranges]
        self._ranges |= {node: estimate(seen, insert.LEVELS) for node, seen in self.histograms(missing).items()}
        return {node: self._ranges[node] for node in nodes}

    def means(self, nodes: Sequence[Node]) -> dict[Node, Tensor]:
        """What those tensors were on average over the calibration samples; each is watched once."""
        from edgekit.quantize import observe

        missing = [node for node in nodes if node not in self._means]
        if missing:
            self._means |= observe.means(self.program.functions["forward"], missing, self.samples)
        return {node: self._means[node] for node in nodes}


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


def _needs_samples(settings: Quantize) -> bool:
    if settings.is_plan:
        return any(site.activation in ("uint8", "int8") for site in plans.read(Path(settings.scheme)).sites)
    return bool(schemes.find(settings.scheme)[0].CALIBRATED)


def request(
    program: Program,
    profile: RuntimeProfile,
    recipe: Recipe,
    calibration: Calibration,
    model: str,
    spectral: frozenset[str],
    announce: Callable[[str], None],
    operator_times: Callable[[Program], OperatorProfile] | None = None,
) -> Request:
    """What the recipe asks for of a rewritten program, which stays as it is."""
    assert recipe.quantize is not None
    assert profile.integers is not None
    made = Request(program, profile.integers, recipe.quantize, calibration.samples, model, spectral, announce)
    made.operator_times = operator_times
    return equalized(made)


def equalized(asked: Request) -> Request:
    """The same, of a program whose channels are scaled as the settings ask."""
    from edgekit.quantize import equalize

    by = asked.settings.equalize
    if by == "none" or (by == "activations" and not asked.samples):
        return asked
    program = asked.program.copy()
    scaled = equalize.apply(program.functions["forward"], by, asked.samples)
    return replace(asked, program=program, scaled=tuple(scaled), _histograms={}, _ranges={}, _means={})


def run(asked: Request, calibration: Calibration, directory: Path) -> tuple[Program, artifact.Quantization]:
    """The quantized program, and what the manifest keeps of it. Writes the plan into `directory`."""
    from edgekit import artifact

    plan = _with_forms(asked, make_plan(asked))
    quantized = apply(asked, plan)
    plan.write(directory / artifact.PLAN)
    record = artifact.Quantization(
        scheme=plan.scheme,
        sites=plan.sites,
        calibration=calibration.record(),
        ranges=asked.settings.ranges,
        scaled=asked.scaled,
        bias_corrected=asked.settings.correct_bias and bool(asked.samples),
        speed=artifact.Speed(reason="not measured yet"),
    )
    return quantized, record


def make_plan(asked: Request) -> Plan:
    """The plan that the settings ask for. Raises InputError for a plan of another model."""
    from edgekit.quantize import placement, sites

    settings, graph = asked.settings, sites.fingerprint(asked.program)
    if settings.is_plan:
        read = plans.read(Path(settings.scheme))
        read.require_for(graph, asked.model)
        sites.require_possible(read, asked.sites, asked.support)
        return read
    scheme, argument = schemes.find(settings.scheme)
    if hasattr(scheme, "plan"):
        made: Plan = scheme.plan(asked)
        return made
    assigned = {site.node: _assigned(scheme, site, asked, argument) for site in asked.sites}
    refined = list(placement.refined(asked.sites, assigned, asked.support).values())
    return Plan(model=asked.model, graph=graph, scheme=settings.scheme, sites=tuple(_with_fused(asked, refined)))


def _assigned(scheme: ModuleType, site: Site, asked: Request, argument: int | None) -> Assignment:
    from edgekit.quantize import normalization

    if asked.is_spectral(site):
        return site.left("frequencies span more than eight bits can tell apart")
    if site.node in asked.normalizing:
        return site.left(normalization.WHY)
    made: Assignment = scheme.assign(site, asked.support, argument)
    return made


def _with_fused(asked: Request, assigned: Sequence[Assignment]) -> Iterator[Assignment]:
    """The same, telling which operators are computed together with the one before them."""
    from edgekit.quantize import insert

    by_name = {assignment.node: assignment for assignment in assigned}
    found = insert.crossings(asked.program.functions["forward"].graph_module, by_name, asked.support)
    fused = {node.name: before.name for node, before in found.fused.items()}
    for one in assigned:
        yield one.model_copy(update={"why": f"computed with {fused[one.node]}"}) if one.node in fused else one


def _with_forms(asked: Request, plan: Plan) -> Plan:
    """The same, telling which GELUs are computed in another form, and how near that is."""
    from edgekit.quantize import insert

    if asked.support.gelu == "native" or not any(site.operator == "gelu" and site.activation for site in plan.sites):
        return plan
    by_name = {assignment.node: assignment for assignment in plan.sites}
    graph_module = asked.program.functions["forward"].graph_module
    fits = insert.gelu_fits(graph_module, by_name, asked.support, _calibrated(asked, by_name))
    told = [one.model_copy(update={"why": str(fits[one.node])}) if one.node in fits else one for one in plan.sites]
    return plan.model_copy(update={"sites": tuple(told)})


def apply(asked: Request, plan: Plan) -> Program:
    """The program as the plan has it; the one in the request stays. Raises Unsupported for a plan that changes nothing here,
    where its scheme would on another device, and ConversionError where it would nowhere."""
    from edgekit.quantize import insert

    if not any(assignment.changes for assignment in plan.sites):
        reasons = list(dict.fromkeys(assignment.why for assignment in plan.sites if assignment.why))
        elsewhere = _elsewhere(asked, plan.scheme)
        raise (Unsupported if elsewhere else ConversionError)(
            f"{plan.scheme} changes nothing in {asked.model}",
            cause="; ".join(reasons[:_SHOWN]) or "it has no operator to quantize",
            next_step=f"choose another scheme{elsewhere}",
        )
    by_name = {assignment.node: assignment for assignment in plan.sites}
    calibrated = _calibrated(asked, by_name)
    quantized = asked.program.copy()
    forward = quantized.functions["forward"]
    forward.exported = None
    insert.write(forward.graph_module, by_name, asked.support, calibrated)
    quantized.is_quantized = True
    return quantized


def _calibrated(asked: Request, plan: Mapping[str, Assignment]) -> insert.Calibrated:
    """What calibration tells of the tensors that a plan makes integers."""
    from edgekit.quantize import insert

    observed = insert.crossings(asked.program.functions["forward"].graph_module, plan, asked.support).observed
    histograms, covered = asked.histograms(observed), asked.ranges(observed)
    return insert.Calibrated(
        ranges={node.name: covered[node] for node in observed},
        histograms={node.name: histograms[node] for node in observed},
        mean_inputs=_mean_inputs(asked, plan),
    )


def _elsewhere(asked: Request, name: str) -> str:
    """Which shipped devices would change something by that scheme, in words that end a sentence; empty where none would."""
    from edgekit import profiles

    scheme, argument = (None, None) if asked.settings.is_plan else schemes.find(name)
    if scheme is None or hasattr(scheme, "plan"):
        return ""
    able: dict[str, list[str]] = {}
    for device in profiles.names():
        for target, runtime in profiles.load(device).runtimes.items():
            support = runtime.integers
            if support is not None and any(scheme.assign(site, support, argument).changes for site in asked.sites):
                able.setdefault(target, []).append(device)
    found = [f"--target {target} --device {' or '.join(devices[:_SHOWN])}" for target, devices in able.items()]
    return f", or {'; or '.join(found)}" if found else ""


def _mean_inputs(asked: Request, plan: Mapping[str, Assignment]) -> dict[str, Tensor]:
    """Of the layers whose biases are to be corrected, by their names; none without samples."""
    if not (asked.settings.correct_bias and asked.samples):
        return {}
    layers = [site for site in asked.sites if site.takes_bias and plan[site.node.name].weight is not None]
    means = asked.means([site.source for site in layers])
    return {site.node.name: means[site.source] for site in layers}


def read_samples(recipe: Recipe, model: LoadedModel, given: Iterable[Mapping[str, Tensor]] | None = None) -> Calibration:
    """The calibration samples of the recipe, or `given` by the caller; none where it quantizes nothing."""
    from edgekit.quantize import calibration

    if recipe.quantize is None:
        return calibration.Calibration([])
    if given is not None:
        return calibration.given(given, model.inputs, recipe.quantize.samples)
    return calibration.read(recipe.quantize, model)


def spectral_modules(program: Program) -> frozenset[str]:
    """The modules of a captured graph that transform to frequencies."""
    from edgekit.quantize import sites

    nodes = (node for graph_module in program for node in graph_module.graph.nodes if node.op == "call_function")
    return frozenset(sites.module_of(node) for node in nodes if sites.operator_of(node).startswith(("fft_", "_fft_")))
