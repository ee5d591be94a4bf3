"""Reference inputs: what an artifact is proved on, kept in its `reference.npz` with what the eager model gives for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgekit import metrics
from edgekit.errors import ModelError
from edgekit.runtimes import Array

if TYPE_CHECKING:
    import torch

    from edgekit.borders import Tensors
    from edgekit.program import Function

Outputs = dict[str, Array]
T = TypeVar("T")

COUNT = 4
STEADY_SQNR_DB = 60.0
"""What is asked of a conversion by default: below it eager answers rounding alone as if it were a wrong conversion."""

_DRAWS = 8
_ROUNDING = 1e-5
"""Relative to each number of an input: about what fp32 makes of it on its way through a deep model."""


def write(
    module: torch.nn.Module,
    forward: Function,
    path: Path,
    approximated: Function | None = None,
    *,
    stored: Function | None = None,
    rounded: Function | None = None,
    samples: Sequence[Tensors] = (),
) -> None:
    """Write `reference.npz`: sample inputs and the eager module's outputs, as `inputs/I/NAME` and `outputs/I/NAME`; those
    of the `approximated` graph, as `approximated/I/NAME`; and either with the weights that the artifact has, as
    `as_stored/I/NAME`: plus what `stored`, the graph with those, changes in `forward`, so that a pass that is not exact still
    shows. Those of `rounded`, the graph that rounds activations too, are `rounded/I/NAME`. The inputs are drawn, or are some of
    the `samples` where there are any.

    Raises ModelError when the eager outputs are not finite: nothing can be proved against NaN.
    """
    from edgekit import borders

    arrays: dict[str, Array] = {}
    with borders.state_kept(module):
        drawn = _inputs(module, forward.example_inputs, forward.max_batch)
        for index, inputs in enumerate(_chosen(samples, forward.max_batch) if samples else drawn):
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
            if rounded is not None:
                arrays |= {f"rounded/{index}/{name}": tensor.numpy() for name, tensor in rounded.run(dict(inputs)).items()}
            if stored is not None:
                base = "outputs" if approximated is None else "approximated"
                held = stored.run(dict(inputs))
                for name, full in forward.run(dict(inputs)).items():
                    change = (held[name] - full).numpy() if full.is_floating_point() else 0
                    arrays[f"as_stored/{index}/{name}"] = arrays[f"{base}/{index}/{name}"] + change
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy types only its own keywords


def example_of(reference: Path) -> dict[str, torch.Tensor]:
    """The example inputs in a `reference.npz`: its first."""
    return tensors(arrays_of(reference)["inputs"][0])


def tensors(arrays: Outputs) -> dict[str, torch.Tensor]:
    import torch

    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def read(path: Path) -> tuple[list[Outputs], list[Outputs]]:
    """The sample inputs and the eager outputs in a `reference.npz`."""
    found = arrays_of(path)
    return found["inputs"], found["outputs"]


def arrays_of(path: Path) -> dict[str, list[Outputs]]:
    """Every kind of array there, input by input; none of a kind that was not written."""
    found: dict[str, list[Outputs]] = {kind: [] for kind in ("inputs", "outputs", "approximated", "as_stored", "rounded")}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            kind, index, name = key.split("/", 2)
            while len(found[kind]) <= int(index):
                found[kind].append({})
            found[kind][int(index)][name] = arrays[key]
    return found


def of_samples(samples: Sequence[T]) -> list[T]:
    """Those on which an artifact is proved: `COUNT` of them, spread evenly; all, where there are no more."""
    return [samples[place * len(samples) // COUNT] for place in range(COUNT)] if len(samples) > COUNT else list(samples)


def _chosen(samples: Sequence[Tensors], max_batch: int | None) -> Iterator[Tensors]:
    """Some of the samples, in batches as those that are drawn."""
    from edgekit import batch

    for sample, size in zip(of_samples(samples), (1, 1, 2, 5), strict=False):
        yield batch.of_size(dict(sample), min(size, max_batch)) if max_batch else sample


def _inputs(module: torch.nn.Module, example: Tensors, max_batch: int | None) -> Iterator[Tensors]:
    """The example itself, then, at its mean and spread, other noise, a smooth image and a faint one. Where the batch is
    dynamic, those are batches of 1, 2 and 5, or of the largest where that is smaller.

    Each of those is drawn until the module is steady there, up to eight times, and else is the steadiest of them. That asks
    the eager module alone, so that no artifact can profit from it.
    """
    import torch

    from edgekit import batch

    random = torch.Generator().manual_seed(1)
    yield dict(example)
    for kind, size in enumerate((1, 2, 5), 1):
        like = batch.of_size(dict(example), min(size, max_batch)) if max_batch else example
        drawn: list[tuple[float, Tensors]] = []
        while len(drawn) < _DRAWS and (not drawn or drawn[-1][0] < STEADY_SQNR_DB):
            inputs = {name: _varied(tensor, kind, random) for name, tensor in like.items()}
            drawn.append((steadiness_db(module, inputs), inputs))
        yield max(drawn, key=lambda draw: draw[0])[1]


def _varied(tensor: torch.Tensor, kind: int, random: torch.Generator) -> torch.Tensor:
    """Whole numbers (token ids, masks) are the example's own in another order, so that they stay legal."""
    import torch

    if not tensor.is_floating_point():
        return tensor.flatten().roll(kind).view_as(tensor).contiguous()
    noise = torch.randn(tensor.shape, generator=random, dtype=tensor.dtype)
    if kind == 2 and tensor.dim():
        noise = noise.cumsum(-1) / tensor.shape[-1] ** 0.5
    spread = tensor.std() if tensor.numel() > 1 else tensor.abs().sum()
    return tensor.mean() + spread * noise * (0.1 if kind == 3 else 1.0)


def steadiness_db(module: torch.nn.Module, inputs: Tensors) -> float:
    """SQNR of the module's outputs when every number of its inputs moves by about 1e-5 of itself: the worst of three tries.

    A model that chooses (an argmax, a threshold, a rounding) jumps where two choices are near: rounding then decides, in
    PyTorch as in any runtime, and a right artifact is as far from eager as eager is from itself.
    """
    import torch

    random = torch.Generator().manual_seed(2)

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor
        return tensor * (1 + _ROUNDING * torch.randn(tensor.shape, generator=random, dtype=tensor.dtype))

    still = _outputs(module, inputs)
    tries = [_outputs(module, {name: moved(tensor) for name, tensor in inputs.items()}) for _ in range(3)]
    return min(metrics.sqnr_db(a, b) for other in tries for a, b in zip(still, other, strict=True))


def jumps(module: torch.nn.Module, path: Path) -> str:
    """Whether the module is steady on the inputs in a `reference.npz`: empty, or in words where it is least so."""
    found = [steadiness_db(module, tensors(inputs)) for inputs in read(path)[0]]
    worst = min(found)
    if worst >= STEADY_SQNR_DB:
        return ""
    return (
        f"PyTorch's own outputs for reference input {found.index(worst)} move by {worst:.0f} dB when its numbers move by "
        f"{_ROUNDING:g} of themselves: the model chooses between near values there, and rounding decides"
    )


def _outputs(module: torch.nn.Module, inputs: Tensors) -> list[Array]:
    from edgekit import borders

    with borders.state_kept(module):
        return [leaf.numpy(force=True) for leaf in borders.leaves(borders.call(module, inputs))]
