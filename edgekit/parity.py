"""Parity: how far an artifact's outputs are from the eager model's, and whether that is near enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit import artifact, runtimes
from edgekit.artifact import Artifact, Parity, ParityRecord
from edgekit.errors import ModelError, ParityError, Unsupported
from edgekit.isolation import Worker
from edgekit.recipe import Recipe
from edgekit.runtimes import Array, TensorSpec

if TYPE_CHECKING:
    import torch

    from edgekit.program import Function

_SQNR_CAP_DB = 200.0
"""Stands for "identical": JSON has no infinity."""


def sqnr_db(reference: Array, other: Array) -> float:
    """Signal to quantization-noise ratio, 10 log10(sum r^2 / sum (r - o)^2), capped at +-200 dB; -200 when not finite."""
    r, o = reference.astype(np.float64), other.astype(np.float64)
    if not (np.isfinite(r).all() and np.isfinite(o).all()):
        return -_SQNR_CAP_DB
    signal, noise = float(np.square(r).sum()), float(np.square(r - o).sum())
    if noise == 0:
        return _SQNR_CAP_DB
    if signal == 0:
        return -_SQNR_CAP_DB
    return float(np.clip(10 * np.log10(signal / noise), -_SQNR_CAP_DB, _SQNR_CAP_DB))


def max_error_over_spread(reference: Array, other: Array) -> float:
    """max |r - o| / std(r); the plain maximum where the reference is constant."""
    r, o = reference.astype(np.float64), other.astype(np.float64)
    spread = float(r.std())
    error = float(np.abs(r - o).max(initial=0.0))
    return error / spread if spread > 0 else error


def cosine(reference: Array, other: Array) -> float:
    """Cosine of the angle between the flattened outputs; 1 when both are zero."""
    r, o = reference.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    norms = float(np.linalg.norm(r) * np.linalg.norm(o))
    return float(r @ o / norms) if norms > 0 else float(np.array_equal(r, o))


def top1_agreement(reference: Array, other: Array) -> float | None:
    """The share of rows whose largest entry agrees; None unless the output is [rows, scores]."""
    if reference.ndim != 2 or reference.shape[1] < 2:
        return None
    return float((reference.argmax(1) == other.argmax(1)).mean())


Outputs = dict[str, Array]


def compare(references: Sequence[Outputs], others: Sequence[Outputs], bound_sqnr_db: float) -> Parity:
    """The worst of each metric over all inputs and outputs, judged against `bound_sqnr_db`."""
    pairs = [(r[name], o[name]) for r, o in zip(references, others, strict=True) for name in r]
    agreements = [a for a in (top1_agreement(r, o) for r, o in pairs if r.shape == o.shape) if a is not None]
    unfit = next((reason for r, o in pairs if (reason := _unfit(r, o))), None)
    sqnr = -_SQNR_CAP_DB if unfit else min(sqnr_db(r, o) for r, o in pairs)
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
) -> ParityRecord:
    """Run the artifact in `worker` on the reference inputs and compare with the eager `module`, in fp32; its conversion,
    with the `approximated` graph where there is one.

    Writes `reference.npz` beside the model file. What cannot run on this machine is recorded as null, with the reason.
    """
    reference = model_file.parent / artifact.REFERENCE
    write_reference(module, forward, reference, approximated, fp16_weights=recipe.precision == "fp16")
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


@dataclass(frozen=True)
class Runs:
    """What an artifact gives for the reference inputs."""

    runtime: str
    """The name of what ran it."""

    outputs: list[Outputs]
    in_fp32: list[Outputs] | None
    """With every float tensor computed in fp32; None where nothing does that for this kind of artifact."""

    stand_in: list[Outputs] | None = None
    """What stands in for the runtime elsewhere gives; None where nothing does, and where it ran itself."""


def runs_of(model_file: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], reference: Path) -> Runs:
    """Run the model file on the reference inputs, as its runtime computes and in fp32."""
    runtime = runtimes.find(model_file.suffix)
    given, _ = read_reference(reference)

    def opened_by(function: str) -> list[Outputs] | None:
        if not hasattr(runtime, function):
            return None
        with getattr(runtime, function)(model_file, inputs, outputs) as session:
            return [session.run(values) for values in given]

    with runtime.open(model_file, inputs, outputs) as session:
        name, found = session.runtime, [session.run(values) for values in given]
    stand_in = None if runtimes.REFERENCE in name else opened_by("open_stand_in")
    return Runs(name, found, opened_by("open_in_fp32"), stand_in)


def _judged(runs: Runs | None, reference: Path, recipe: Recipe, reason: str = "") -> ParityRecord:
    """Both questions. The conversion is judged on what was computed in fp32, against what the weights that the artifact
    stores and the approximations it was asked for leave of the eager model; the precision on what the runtime computed,
    against the eager model as it is."""
    arrays, fp16 = _arrays(reference), recipe.precision == "fp16"
    allowed = [f"{', '.join(recipe.approximations)} approximated"] if arrays["approximated"] else []
    allowed += ["weights rounded to fp16, as they are stored"] if fp16 else []
    beside = f"; the conversion, the same with {' and '.join(allowed)}" if allowed else ""

    def answer(found: list[Outputs] | None, expected: list[Outputs], bound_sqnr_db: float) -> Parity:
        if found is None:
            return not_run(bound_sqnr_db, reason or "the runtime computes in fp16 only")
        if not expected:
            return not_run(bound_sqnr_db, "its reference is an older edgekit's, without rounded weights: export it again")
        return compare(expected, found, bound_sqnr_db)

    in_fp32 = None if runs is None else runs.in_fp32 if runs.in_fp32 is not None or fp16 else runs.outputs
    expected = arrays["as_stored"] if fp16 else arrays["approximated"] or arrays["outputs"]
    return ParityRecord(
        reference=f"PyTorch eager in fp32 on {_REFERENCE_COUNT} inputs{beside}",
        runtime=None if runs is None else runs.runtime,
        conversion=answer(in_fp32, expected, recipe.conversion_sqnr_db),
        precision=answer(None if runs is None else runs.outputs, arrays["outputs"], recipe.precision_sqnr_db),
        stand_in_sqnr_db=compare(runs.outputs, runs.stand_in, recipe.precision_sqnr_db).sqnr_db
        if runs is not None and runs.stand_in is not None
        else None,
    )


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
    arrays = _arrays(reference)
    given = map(_tensors, arrays["inputs"])
    found = [{name: tensor.numpy() for name, tensor in forward.run(inputs).items()} for inputs in given]
    return compare(arrays["approximated"] or arrays["outputs"], found, bound_sqnr_db)


_REFERENCE_COUNT = 4


def write_reference(
    module: torch.nn.Module,
    forward: Function,
    path: Path,
    approximated: Function | None = None,
    *,
    fp16_weights: bool = False,
) -> None:
    """Write `reference.npz`: sample inputs and the eager module's outputs, as `inputs/I/NAME` and `outputs/I/NAME`; those
    of the `approximated` graph, as `approximated/I/NAME`; and for `fp16_weights` either with such weights, as
    `as_stored/I/NAME`: plus what rounding them changes in `forward`, so that a pass that is not exact still shows.

    Raises ModelError when the eager outputs are not finite: nothing can be proved against NaN.
    """
    from edgekit import borders, stored_weights

    stored = replace(forward, graph_module=stored_weights.rounded(forward.graph_module)) if fp16_weights else None
    arrays: dict[str, Array] = {}
    with borders.state_kept(module):
        for index, inputs in enumerate(_reference_inputs(forward.example_inputs, forward.max_batch)):
            for name, leaf in zip(forward.output_names, borders.leaves(borders.call(module, inputs)), strict=True):
                if leaf.is_floating_point() and not bool(leaf.isfinite().all()):
                    raise ModelError(
                        f"the PyTorch model's output {name} holds NaN or infinity",
                        cause="on a sample input, before any conversion",
                        next_step="check its weights: parity needs a finite reference",
                    )
                arrays[f"outputs/{index}/{name}"] = leaf.numpy(force=True).copy()
            arrays |= {f"inputs/{index}/{name}": tensor.numpy() for name, tensor in inputs.items()}
            if approximated is not None:
                arrays |= {f"approximated/{index}/{name}": t.numpy() for name, t in approximated.run(dict(inputs)).items()}
            if stored is not None:
                base = "outputs" if approximated is None else "approximated"
                rounded = stored.run(dict(inputs))
                for name, full in forward.run(dict(inputs)).items():
                    change = (rounded[name] - full).numpy() if full.is_floating_point() else 0
                    arrays[f"as_stored/{index}/{name}"] = arrays[f"{base}/{index}/{name}"] + change
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy types only its own keywords


def example_of(reference: Path) -> dict[str, torch.Tensor]:
    """The example inputs in a `reference.npz`: its first."""
    return _tensors(_arrays(reference)["inputs"][0])


def _tensors(arrays: Outputs) -> dict[str, torch.Tensor]:
    import torch

    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def read_reference(path: Path) -> tuple[list[Outputs], list[Outputs]]:
    """The sample inputs and the eager outputs in a `reference.npz`."""
    found = _arrays(path)
    return found["inputs"], found["outputs"]


def _arrays(path: Path) -> dict[str, list[Outputs]]:
    """Every kind of array there, input by input; none of a kind that was not written."""
    found: dict[str, list[Outputs]] = {"inputs": [], "outputs": [], "approximated": [], "as_stored": []}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            kind, index, name = key.split("/", 2)
            while len(found[kind]) <= int(index):
                found[kind].append({})
            found[kind][int(index)][name] = arrays[key]
    return found


def _reference_inputs(example: Mapping[str, torch.Tensor], max_batch: int | None) -> list[dict[str, torch.Tensor]]:
    """The example itself, then, at its mean and spread, other noise, a smooth image and a faint one; whole numbers (token
    ids, masks) are the example's own in another order, so that they stay legal. Where the batch is
    dynamic, the others are batches of 1, 2 and 5, or of the largest where that is smaller."""
    import torch

    from edgekit import batch

    random = torch.Generator().manual_seed(1)

    def varied(tensor: torch.Tensor, kind: int) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor.flatten().roll(kind).view_as(tensor).contiguous()
        noise = torch.randn(tensor.shape, generator=random, dtype=tensor.dtype)
        if kind == 2 and tensor.dim():
            noise = noise.cumsum(-1) / tensor.shape[-1] ** 0.5
        spread = tensor.std() if tensor.numel() > 1 else tensor.abs().sum()
        return tensor.mean() + spread * noise * (0.1 if kind == 3 else 1.0)

    batches = [batch.of_size(dict(example), min(n, max_batch)) if max_batch else dict(example) for n in (1, 2, 5)]
    others = [{name: varied(t, kind) for name, t in inputs.items()} for kind, inputs in enumerate(batches, 1)]
    return [dict(example), *others]
