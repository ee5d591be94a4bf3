"""Parity: how far an artifact's outputs are from the eager model's, and whether that is near enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit import artifact, reference_inputs, runtimes
from edgekit.artifact import Artifact, Parity, ParityRecord
from edgekit.errors import ParityError, Unsupported
from edgekit.isolation import Worker
from edgekit.metrics import SQNR_CAP_DB, cosine, max_error_over_spread, sqnr_db, top1_agreement
from edgekit.recipe import Recipe
from edgekit.reference_inputs import Outputs
from edgekit.runtimes import Array, TensorSpec

if TYPE_CHECKING:
    import torch

    from edgekit.borders import Tensors
    from edgekit.program import Function


def compare(references: Sequence[Outputs], others: Sequence[Outputs], bound_sqnr_db: float) -> Parity:
    """The worst of each metric over all inputs and outputs, judged against `bound_sqnr_db`."""
    pairs = [(r[name], o[name]) for r, o in zip(references, others, strict=True) for name in r]
    agreements = [a for a in (top1_agreement(r, o) for r, o in pairs if r.shape == o.shape) if a is not None]
    unfit = next((reason for r, o in pairs if (reason := _unfit(r, o))), None)
    sqnr = -SQNR_CAP_DB if unfit else min(sqnr_db(r, o) for r, o in pairs)
    return Parity(
        sqnr_db=sqnr,
        max_error_over_spread=None if unfit else max(max_error_over_spread(r, o) for r, o in pairs),
        cosine=None if unfit else min(cosine(r, o) for r, o in pairs),
        top1_agreement=float(np.mean(agreements)) if agreements else None,
        bound_sqnr_db=bound_sqnr_db,
        passed=sqnr >= bound_sqnr_db,
        reason=unfit,
    )


def _unfit(reference: Array, other: Array) -> str | None:
    """Why two outputs cannot be compared; None when they can."""
    if other.shape != reference.shape:
        return f"the artifact's output has shape {list(other.shape)}, not {list(reference.shape)}"
    return None if np.isfinite(other).all() else "the artifact's outputs hold NaN or infinity"


def not_run(bound_sqnr_db: float, reason: str) -> Parity:
    """The record of a question that could not be asked here."""
    return Parity(
        sqnr_db=None,
        max_error_over_spread=None,
        cosine=None,
        top1_agreement=None,
        bound_sqnr_db=bound_sqnr_db,
        passed=None,
        reason=reason,
    )


def prove(
    worker: Worker,
    model_file: Path,
    module: torch.nn.Module,
    forward: Function,
    recipe: Recipe,
    approximated: Function | None = None,
    *,
    stored: Stored | None = None,
    samples: Sequence[Tensors] = (),
) -> ParityRecord:
    """Run the artifact in `worker` on the reference inputs and compare with the eager `module`, in fp32; its conversion,
    with the `approximated` graph where there is one, and with what the weights and integers `stored` in it leave of that.

    Writes `reference.npz` beside the model file, with some of the calibration `samples` where there are any. What cannot run on
    this machine is recorded as null, with the reason.
    """
    reference = model_file.parent / artifact.REFERENCE
    held = stored or Stored()
    reference_inputs.write(module, forward, reference, approximated, stored=held.exact, rounded=held.rounded, samples=samples)
    try:
        stage = f"running the {recipe.target} artifact"
        runs: Runs = worker.call("edgekit.parity:runs_of", model_file, *forward.border(), reference, stage=stage)
    except Unsupported as error:
        return _judged(None, reference, recipe, error.what)
    return _judged(runs, reference, recipe)


def check(loaded: Artifact) -> ParityRecord:
    """Run a published artifact on its own reference and judge it by its recipe's bounds. Raises Unsupported when this
    machine cannot run it."""
    reference = loaded.directory / artifact.REFERENCE
    runs = runs_of(loaded.model_file, *runtimes.borders(loaded.manifest), reference)
    return _judged(runs, reference, loaded.manifest.recipe)


def of_outputs(loaded: Artifact, runtime: str, outputs: list[Outputs]) -> Parity:
    """The answer for an artifact whose reference inputs gave these `outputs` on another device: of the questions that they
    answer, the one that they answer worst."""
    record = _judged(Runs(runtime, outputs, None), loaded.directory / artifact.REFERENCE, loaded.manifest.recipe)
    answers = [answer for answer in (record.conversion, record.precision) if answer.passed is not None]
    return min(answers, key=lambda answer: (answer.sqnr_db or 0.0) - answer.bound_sqnr_db)


@dataclass(frozen=True)
class Stored:
    """The rewritten graph with what an artifact of fewer bits holds; nothing of one that holds the graph's own weights."""

    exact: Function | None = None
    """With its weights, and activations within the ranges of its integers."""
    rounded: Function | None = None
    """With activations rounded to those integers too; None where it rounds none."""


@dataclass(frozen=True)
class Runs:
    """What an artifact gives for the reference inputs."""

    runtime: str
    """The name of what ran it."""

    outputs: list[Outputs]
    in_fp32: list[Outputs] | None
    """With every float tensor in fp32 and no activation rounded; None where nothing computes such an artifact in that way,
    and where it is computed so in any case."""

    stand_in: list[Outputs] | None = None
    """What stands in for the runtime elsewhere gives; None where nothing does, and where it ran itself."""


def runs_of(model_file: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], reference: Path) -> Runs:
    """Run the model file on the reference inputs, as its runtime computes and in fp32."""
    runtime = runtimes.find(model_file.suffix)
    arrays = reference_inputs.arrays_of(reference)
    given = arrays["inputs"]

    def opened_by(function: str) -> list[Outputs] | None:
        if not hasattr(runtime, function):
            return None
        with getattr(runtime, function)(model_file, inputs, outputs) as session:
            return [session.run(values) for values in given]

    with runtime.open(model_file, inputs, outputs) as session:
        name, found = session.runtime, [session.run(values) for values in given]
    stand_in = None if runtimes.REFERENCE in name else opened_by("open_stand_in")
    return Runs(name, found, opened_by("open_in_fp32") if arrays["as_stored"] else None, stand_in)


def _judged(runs: Runs | None, reference: Path, recipe: Recipe, reason: str = "") -> ParityRecord:
    """Both questions. The conversion is judged on what was computed in fp32 without rounding activations, against what the
    weights that the artifact stores and the approximations it was asked for leave of the eager model; the precision on what
    the runtime computed, against the eager model as it is."""
    arrays, fp16 = reference_inputs.arrays_of(reference), recipe.precision == "fp16"
    allowed = [f"{', '.join(recipe.approximations)} approximated"] if arrays["approximated"] else []
    allowed += [f"quantized to {recipe.quantize.scheme}"] if recipe.quantize else []
    allowed += ["weights rounded to fp16, as they are stored"] if fp16 else []
    beside = f"; the conversion, the same with {' and '.join(allowed)}" if allowed else ""
    unknown = not_run(recipe.precision_bound_db, reason)
    return ParityRecord(
        reference=f"PyTorch eager in fp32 on {reference_inputs.COUNT} inputs{beside}",
        runtime=None if runs is None else runs.runtime,
        conversion=_conversion(runs, arrays, recipe, reason),
        precision=compare(arrays["outputs"], runs.outputs, recipe.precision_bound_db) if runs else unknown,
        stand_in_sqnr_db=compare(runs.outputs, runs.stand_in, recipe.precision_bound_db).sqnr_db
        if runs is not None and runs.stand_in is not None
        else None,
    )


ROUNDINGS_APART_DB = 6.0
"""How much further an artifact that rounds activations may be from the graph that rounds them too, than that graph is from
eager: of two roundings of one model that have nothing in common, the difference has twice the power of either, 3 dB more; and
as much for so few outputs."""


def _conversion(runs: Runs | None, arrays: dict[str, list[Outputs]], recipe: Recipe, reason: str) -> Parity:
    """Whether the artifact computes the graph it was made from. Where its runtime cannot leave the rounding of activations out,
    it may round a value that lies between two integers another way, and is then compared with the graph that rounds."""
    bound = recipe.conversion_sqnr_db
    if runs is None:
        return not_run(bound, reason)
    if recipe.precision != "fp16" and recipe.quantize is None:
        return compare(arrays["approximated"] or arrays["outputs"], runs.outputs, bound)
    if not arrays["as_stored"]:
        return not_run(bound, "its reference is an older edgekit's, without rounded weights: export it again")
    if runs.in_fp32 is not None:
        return compare(arrays["as_stored"], runs.in_fp32, bound)
    if recipe.precision == "fp16":
        return not_run(bound, "the runtime computes in fp16 only")
    if not arrays["rounded"]:
        return compare(arrays["as_stored"], runs.outputs, bound)
    noise_db = compare(arrays["outputs"], arrays["rounded"], bound).sqnr_db
    assert noise_db is not None
    return compare(arrays["rounded"], runs.outputs, min(bound, noise_db - ROUNDINGS_APART_DB))


def require(
    parity: ParityRecord, diagnose: Callable[[], str], first_loss: Callable[[], str] = lambda: "", *, tolerant: bool = False
) -> ParityRecord:
    """Raise ParityError unless every question that could be asked here is answered yes; `diagnose` finds the cause, and
    `first_loss`, where the precision is the cause, the operation that first had too little.

    When `tolerant`, a precision that is not enough is no error as long as the outputs are finite: the record that comes back
    names that operation.
    """
    for question, answer in (("conversion", parity.conversion), ("precision", parity.precision)):
        if answer.passed is False:
            cause = answer.reason or ("" if parity.conversion.passed else diagnose())
            if parity.conversion.passed:
                cause = "; ".join(filter(None, (cause, first_loss()))) or _ASKED
                if tolerant and not answer.reason:
                    return parity.model_copy(update={"precision": answer.model_copy(update={"reason": cause})})
            raise ParityError(
                f"the artifact misses the {question} bound: SQNR {answer.sqnr_db:.1f} dB, {answer.bound_sqnr_db:.0f} dB needed",
                cause=cause,
                next_step="nothing was published; report the model, or state a bound you accept in a recipe "
                f"({question}_sqnr_db)",
            )
    return parity


_ASKED = "the conversion is right, so it is the precision or the approximations that were asked for"


def of_graph(forward: Function, reference: Path, bound_sqnr_db: float) -> Parity:
    """How far a graph's outputs are from eager's in a `reference.npz`, or from the approximated graph's if there are any."""
    arrays = reference_inputs.arrays_of(reference)
    given = map(reference_inputs.tensors, arrays["inputs"])
    found = [{name: tensor.numpy() for name, tensor in forward.run(inputs).items()} for inputs in given]
    return compare(arrays["approximated"] or arrays["outputs"], found, bound_sqnr_db)
