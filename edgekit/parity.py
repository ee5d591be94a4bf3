"""Parity: how far an artifact's outputs are from the eager model's, and whether that is near enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    write_reference(module, forward, reference, approximated)
    try:
        runtime, outputs = worker.call(
            "edgekit.parity:outputs_of", model_file, *forward.border(), reference, stage=f"running the {recipe.target} artifact"
        )
    except Unsupported as error:
        return _judged(None, reference, [], recipe, error.what)
    return _judged(runtime, reference, outputs, recipe)


def check(loaded: Artifact) -> ParityRecord:
    """Run a published artifact on its own reference and judge it by its recipe's bounds. Raises Unsupported when this
    machine cannot run it."""
    with runtimes.open(loaded.directory) as session:
        reference = loaded.directory / artifact.REFERENCE
        outputs = [session.run(values) for values in read_reference(reference)[0]]
        return _judged(session.runtime, reference, outputs, loaded.manifest.recipe)


def _judged(runtime: str | None, reference: Path, outputs: list[Outputs], recipe: Recipe, reason: str = "") -> ParityRecord:
    """Both questions. Computed in fp32, the conversion is judged directly; in a lower precision the runtime's outputs
    answer only whether the precision is enough."""
    eager, approximated = _expected(reference)
    beside = f"; the conversion, the same with {', '.join(recipe.approximations)} approximated" if approximated else ""

    def answer(bound_sqnr_db: float, expected: list[Outputs] = eager) -> Parity:
        return compare(expected, outputs, bound_sqnr_db) if runtime else not_run(bound_sqnr_db, reason)

    in_fp32 = recipe.precision in (None, "fp32")
    return ParityRecord(
        reference=f"PyTorch eager in fp32 on {_REFERENCE_COUNT} inputs{beside}",
        runtime=runtime,
        conversion=answer(recipe.conversion_sqnr_db, approximated or eager)
        if in_fp32 or runtime is None
        else not_run(recipe.conversion_sqnr_db, "the runtime computes in fp16 only"),
        precision=answer(recipe.precision_sqnr_db),
    )


def require(parity: ParityRecord, diagnose: Callable[[], str]) -> None:
    """Raise ParityError unless every question that could be asked here is answered yes; `diagnose` finds the cause."""
    for question, answer in (("conversion", parity.conversion), ("precision", parity.precision)):
        if answer.passed is False:
            raise ParityError(
                f"the artifact misses the {question} bound: SQNR {answer.sqnr_db:.1f} dB, {answer.bound_sqnr_db:.0f} dB needed",
                cause=answer.reason or (diagnose() if not parity.conversion.passed else _ASKED),
                next_step="nothing was published; report the model, or state a bound you accept in a recipe "
                f"({question}_sqnr_db)",
            )


_ASKED = "the conversion is right, so it is the precision or the approximations that were asked for"


def outputs_of(
    model_file: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], reference: Path
) -> tuple[str, list[dict[str, Array]]]:
    """The runtime's name, and what the model file gives for the reference inputs."""
    with runtimes.find(model_file.suffix).open(model_file, inputs, outputs) as session:
        return session.runtime, [session.run(values) for values in read_reference(reference)[0]]


_REFERENCE_COUNT = 4


def write_reference(module: torch.nn.Module, forward: Function, path: Path, approximated: Function | None = None) -> None:
    """Write `reference.npz`: sample inputs and the eager module's outputs, as `inputs/I/NAME` and `outputs/I/NAME`; and those
    of the `approximated` graph, as `approximated/I/NAME`.

    Raises ModelError when the eager outputs are not finite: nothing can be proved against NaN.
    """
    from edgekit import borders

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
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy types only its own keywords


def read_reference(path: Path) -> tuple[list[Outputs], list[Outputs]]:
    """The sample inputs and the eager outputs in a `reference.npz`."""
    found = _arrays(path)
    return found["inputs"], found["outputs"]


def _expected(path: Path) -> tuple[list[Outputs], list[Outputs]]:
    """The eager outputs, and those of the approximated graph: none where nothing was approximated."""
    found = _arrays(path)
    return found["outputs"], found["approximated"]


def _arrays(path: Path) -> dict[str, list[Outputs]]:
    found: dict[str, list[Outputs]] = {"inputs": [], "outputs": [], "approximated": []}
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
