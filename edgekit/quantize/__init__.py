"""Quantization of the rewritten graph: what each operator becomes is a plan, which a scheme makes and `insert` writes.

scheme (or a plan's file) - plan - ranges from calibration - quantized graph

The quantized graph is one that PyTorch executes: artifacts are compared with it. Schemes never ask for the target's name,
but for what its runtime computes with integers (`RuntimeProfile.integers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from edgekit.errors import ConversionError, Unsupported
from edgekit.quantize import plan as plans
from edgekit.quantize import schemes
from edgekit.quantize.plan import Assignment, Plan

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import Node

    from edgekit import artifact
    from edgekit.program import Program
    from edgekit.quantize import insert
    from edgekit.quantize.asking import Request
    from edgekit.quantize.calibration import Calibration
    from edgekit.quantize.sites import Site
    from edgekit.recipe import Recipe
    from edgekit.sources import LoadedModel

_SHOWN = 3
"""Reasons that an error repeats."""


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
    from edgekit.quantize import sites, sums

    settings = asked.settings
    if settings.is_plan:
        read = plans.read(Path(settings.scheme))
        read.require_for(sites.fingerprint(asked.program), asked.model)
        sites.require_possible(read, asked.sites, asked.support)
        return read
    scheme, argument = schemes.find(settings.scheme)
    if hasattr(scheme, "plan"):
        made: Plan = scheme.plan(asked)
        return made
    assigned = {site.node: _assigned(scheme, site, asked, argument) for site in asked.sites}
    plan = _refined(asked, assigned)
    small = sums.rounded_away(asked, plan)
    if not small:
        return plan
    without = _refined(asked, assigned | {site.node: site.left(sums.WHY) for site in small})
    return without if sums.are_worth_leaving(asked, plan, without) else plan


def _refined(asked: Request, assigned: Mapping[Node, Assignment]) -> Plan:
    """The plan that a scheme's assignments, each made by itself, become beside each other."""
    from edgekit.quantize import placement, sites

    graph, refined = sites.fingerprint(asked.program), placement.refined(asked.sites, assigned, asked.support)
    found = tuple(_with_fused(asked, list(refined.values())))
    return Plan(model=asked.model, graph=graph, scheme=asked.settings.scheme, sites=found)


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
        weighted = {site.node.name for site in asked.sites if site.weight is not None}
        telling = sorted(plan.sites, key=lambda assignment: assignment.node not in weighted)
        reasons = list(dict.fromkeys(assignment.why for assignment in telling if assignment.why))
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
        covariances=_covariances(asked, plan),
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


def _covariances(asked: Request, plan: Mapping[str, Assignment]) -> dict[str, Tensor]:
    """Of what the layers whose weights get four bits read, by their names; none without samples. About the mean, for what an
    error does to that is the bias's to correct."""
    if not (asked.settings.correct_bias and asked.samples):
        return {}
    layers = [site for site in asked.sites if site.takes_bias and _is_grouped(plan[site.node.name])]
    found = asked.covariances({site.source: -1 if site.operator == "linear" else 1 for site in layers})
    return {site.node.name: found[site.source] for site in layers}


def _is_grouped(assignment: Assignment) -> bool:
    return assignment.weight is not None and assignment.weight.group is not None


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
