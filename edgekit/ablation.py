"""What each pass is worth: the artifact made once more without it, and both measured interleaved."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit import passes, pipeline, profiling
from edgekit.artifact import Artifact
from edgekit.errors import EdgekitError
from edgekit.profiling import Estimate, ratio


@dataclass(frozen=True)
class Ablation:
    """The artifact without one pass, beside the whole one."""

    without: str
    operators: int | None
    """Operators in the graph that was lowered; None when it cannot be exported without the pass."""
    latency_ratio: Estimate | None
    """Median latency without the pass over that with it: above 1 the pass makes it faster."""
    reason: str = ""
    """Why there are no figures."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def ablate(made: Artifact, announce: Callable[[str], None] = lambda stage: None) -> list[Ablation]:
    """One line for each pass that changed something. Raises Unsupported when the artifact does not run on this machine."""
    recipe = made.manifest.recipe
    exact = [record.name for record in made.manifest.passes if not record.approximate]
    changing = [record.name for record in made.manifest.passes if record.changed]
    with tempfile.TemporaryDirectory(prefix="edgekit-ablation-") as folder:
        variants: dict[str, Artifact] = {}
        failures: dict[str, str] = {}
        for name in changing:
            approximations = tuple(n for n in recipe.approximations if passes.pass_of(n) != name)
            left = {"passes": tuple(n for n in exact if n != name), "approximations": approximations}
            try:
                announce(f"without {name}")
                variants[name] = pipeline.export(recipe.model_copy(update=left), Path(folder, name))
            except EdgekitError as error:
                failures[name] = f"it does not export without: {error.cause or error.what}"
        announce("measuring")
        whole, *others = profiling.profile([made.directory, *(v.directory for v in variants.values())])
        ratios = {name: ratio(other, whole) for name, other in zip(variants, others, strict=True)}
    return [
        Ablation(name, variants[name].manifest.model.operators, ratios[name])
        if name in variants
        else Ablation(name, None, None, failures[name])
        for name in changing
    ]
