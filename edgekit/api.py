"""The verbs, as Python calls. The command line calls these and prints."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import artifact, pipeline, profiles, sources
from edgekit import recipe as recipes
from edgekit.artifact import Artifact, ParityRecord
from edgekit.errors import UsageError

if TYPE_CHECKING:
    import torch

    from edgekit.ablation import Ablation
    from edgekit.bisection import Bisection
    from edgekit.devices import Connected
    from edgekit.evaluation.job import Evaluation
    from edgekit.inspection import Report
    from edgekit.prediction import Prediction
    from edgekit.profiling.measurement import Measurement
    from edgekit.runtimes import Session

DEFAULT_OUTPUT = Path("artifacts")


def load_model(name: str, weights: str | Path | None = None, *, input_size: int | None = None) -> torch.nn.Module:
    """The PyTorch module of a variant, in eval mode, with the checkpoint `weights`, or initialised deterministically.

    Raises UnknownName, UsageError (an input size it cannot take) and WeightsError.
    """
    request = recipes.from_request(model=name, weights=weights, input_size=input_size, target="onnx")
    return sources.load(request).module


def export(
    model: str | Path | torch.nn.Module,
    target: str | None = None,
    *,
    inputs: Mapping[str, torch.Tensor] | None = None,
    name: str | None = None,
    output: str | Path = DEFAULT_OUTPUT,
    force: bool = False,
    use_cache: bool = True,
    samples: Iterable[Mapping[str, torch.Tensor]] | None = None,
    announce: Callable[[str], None] = lambda stage: None,
    **options: Any,
) -> Artifact:
    """The artifact of `model` for `target`, proven and written to `output/NAME-TARGET`, or `output/NAME-TARGET-SCHEME` where
    it is quantized.

    `model` is a variant's name, a recipe, `file.py:factory`, or an `nn.Module`, which also takes example `inputs` by the
    names of its forward's arguments, and a `name`; it stays in the mode it is in. `options` are the other fields of
    `edgekit.recipe.Recipe`: device, weights, input_size, input_shapes, precision, passes, approximations, the SQNR bounds, and
    quantize: a scheme's name, or the fields of `edgekit.recipe.Quantize`. `samples` are calibration inputs by name, in place of
    its `calibration`.
    Raises EdgekitError; nothing is then written.
    """
    loaded = None
    with contextlib.ExitStack() as held:
        if not isinstance(model, (str, Path)):
            if not inputs:
                raise UsageError("a module needs example inputs", next_step='give inputs={"x": torch.randn(1, 3, 224, 224)}')
            from edgekit import borders

            held.enter_context(borders.in_eval_mode(model))
            name = name or type(model).__name__.lower()
            loaded = sources.from_module(model, dict(inputs), name=name)
        request = recipes.from_request(model=str(name if loaded else model), target=target, **options)
        if loaded is None:
            request = request.model_copy(update={"model": sources.canonical(request.model)})
        named = name or sources.display_name(request.model)
        scheme = [] if request.quantize is None else [Path(request.quantize.scheme).stem]
        directory = Path(output) / "-".join([named, request.target, *scheme])
        return pipeline.export(
            request, directory, model=loaded, force=force, use_cache=use_cache, samples=samples, announce=announce
        )


def ablate(made: Sequence[Artifact], *, announce: Callable[[str], None] = lambda stage: None) -> dict[str, list[Ablation]]:
    """By target, what each pass that changed something is worth: the artifact without it, measured interleaved."""
    from edgekit import ablation

    return {one.manifest.target: ablation.ablate(one, announce) for one in made}


def open(subject: str | Path) -> Session:
    """The session of an artifact, a bare model file, or a model's name (PyTorch eager); `session.run({name: array})`."""
    from edgekit import runtimes

    return runtimes.open(subject)


def verify(directory: str | Path) -> ParityRecord:
    """Check an artifact's files against its manifest, run it on its reference inputs, and judge the outputs.

    Raises ArtifactError for a damaged one and Unsupported when this machine cannot run it.
    """
    from edgekit import parity

    return parity.check(artifact.load(Path(directory)))


def bisect(directory: str | Path, module: torch.nn.Module | None = None) -> Bisection:
    """The first operator at which the conversion of a Core ML artifact goes wrong, and the first at which its precision does,
    each with its source module, its range and its distance from PyTorch's values; and the weakest where none does.

    The model is built again as its recipe says; give the `module` where it was exported as one. Raises ArtifactError,
    ModelError when the model is gone or is another one, and Unsupported for other targets.
    """
    from edgekit import bisection

    return bisection.of_artifact(artifact.load(Path(directory)), module)


def inspect(subject: str | Path) -> Report:
    """Operators, weights, memory and delegation of an artifact or a bare model file, without running it; for Core ML also what
    may keep it off the Neural Engine.

    Raises ArtifactError for a damaged one, and Unsupported for a Core ML model that is no ML program.
    """
    from edgekit import inspection

    return inspection.inspect(subject)


def predict(directory: str | Path, photo: str | Path, *, count: int = 5) -> list[Prediction]:
    """The `count` likeliest classes of a photograph, preprocessed as the artifact's manifest says."""
    from edgekit import prediction

    return prediction.predict(artifact.load(Path(directory)), Path(photo), count)


def profile(
    subjects: Sequence[str | Path] | str | Path,
    *,
    device: str = "host",
    record: str | Path | None = None,
    announce: Callable[[str], None] = lambda stage: None,
    **settings: Any,
) -> list[Measurement]:
    """Latency, load and memory of artifacts, model files and models (PyTorch eager), measured interleaved on `device`.

    `settings` are the fields of `edgekit.profiling.Settings` (threads, duration_s, mode, cores, spinning, batches, energy,
    operators); `record` is a file for `replay:FILE`. Raises UsageError for a request that cannot be, Unsupported for a device
    out of reach, and Interrupted, whose `partial` holds what was measured, for whatever ends the job once there are samples.
    """
    from edgekit import profiling

    return profiling.profile(
        [subjects] if isinstance(subjects, (str, Path)) else subjects,
        device=device,
        settings=profiling.Settings(**settings),
        record=None if record is None else Path(record),
        progress=lambda done, total: announce(f"{done} of {total} steps"),
    )


def evaluate(
    subjects: Sequence[str | Path] | str | Path,
    data: str | Path,
    *,
    reference: str | Path | None = None,
    limit: int | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    sensitivity: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """The accuracy of artifacts, model files and models (PyTorch eager) on the test split of `data`, or on `limit` samples of
    it, and how far each is from its `reference`, by default the fp32 model that it was made from.

    `data` is a folder or file that `edgekit.datasets.open` takes. With `output`, a results file, what each image told is kept
    beside it as it comes in: `resume` goes on with a run that was cut short. With `sensitivity`, quantized artifacts also tell
    what each of their layers costs. Raises UsageError and InputError for subjects and data that do not fit, and Interrupted,
    whose `partial` holds what was found, for whatever ends it once there are images.
    """
    from edgekit.evaluation import job

    return job.evaluate(
        [subjects] if isinstance(subjects, (str, Path)) else subjects,
        Path(data),
        reference=reference,
        limit=limit,
        output=None if output is None else Path(output),
        resume=resume,
        sensitivity=sensitivity,
        progress=progress,
    )


def device_profiles() -> list[profiles.DeviceProfile]:
    """The shipped device profiles."""
    return [profiles.load(name) for name in profiles.names()]


def connected_devices() -> list[Connected]:
    """The devices that `profile` could measure on now."""
    from edgekit import devices

    return devices.connected()
