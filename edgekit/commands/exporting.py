"""What there is, and from a model to an artifact that is proved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.commands import Json
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.artifact import Artifact

ArtifactDirectory = Annotated[Path, typer.Argument(help="A directory that `edgekit export` wrote.")]


def models(json: Json = False) -> None:
    """List the models edgekit knows, with what was published of them."""
    from edgekit import console
    from edgekit import models as known

    variants = list(known.all_variants().values())
    if json:
        console.show_json([variant.as_dict() for variant in variants])
    else:
        console.show_models(variants)


def devices(json: Json = False) -> None:
    """List the device profiles to export for, and the devices that can be measured on now."""
    import dataclasses

    from edgekit import api, console

    known, connected = api.device_profiles(), api.connected_devices()
    if json:
        profiles = [device.model_dump(mode="json") for device in known]
        console.show_json({"profiles": profiles, "connected": [dataclasses.asdict(one) for one in connected]})
    else:
        console.show_devices(known, connected)


def doctor(json: Json = False) -> None:
    """Tell what works on this machine, and how to get what does not."""
    from edgekit import console
    from edgekit import doctor as checks

    with console.progress("looking around", silent=json):
        findings = checks.examine()
    if json:
        console.show_json([finding.as_dict() for finding in findings])
    else:
        console.show_findings(findings)


def export(
    model: Annotated[str, typer.Argument(help="A model (lsnet_t; lsnet is its smallest), a recipe, or file.py:factory.")],
    target: Annotated[list[str] | None, typer.Option("--target", "-t", help="onnx, coreml or executorch; repeatable.")] = None,
    device: Annotated[str | None, typer.Option(help="A device profile (see `edgekit devices`).")] = None,
    weights: Annotated[Path | None, typer.Option(help="A .pth or .safetensors checkpoint.")] = None,
    input_size: Annotated[int | None, typer.Option(help="Height and width of the input image.")] = None,
    input_shape: Annotated[
        list[str] | None, typer.Option(help="Shape of an input of a file.py:factory, as 1,3,224,224; repeatable.")
    ] = None,
    max_batch: Annotated[int | None, typer.Option(help="Let the artifact take any batch from 1 to this one.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or fp16; the target's usual one if left out.")] = None,
    passes: Annotated[
        str | None,
        typer.Option(help="The exact passes to run, in order, with commas; '' for none.", show_default="all"),
    ] = None,
    approximate: Annotated[
        list[str] | None, typer.Option(help="What to compute approximately, to be faster: gelu; repeatable.")
    ] = None,
    quantize: Annotated[
        str | None, typer.Option(help="A scheme (int8, int8-weight, int4-weight, mixed, ...), or a plan's YAML file.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="A folder of images or an .npz to find ranges by, of the kind the model will see.")
    ] = None,
    ranges: Annotated[str | None, typer.Option(help="How ranges are told from it: mse, percentile or min-max.")] = None,
    least_sqnr_db: Annotated[float | None, typer.Option(help="With mixed: the fastest whose outputs keep this SQNR.")] = None,
    most_latency_ms: Annotated[
        float | None, typer.Option(help="With mixed: the most accurate whose operators take no longer on this machine.")
    ] = None,
    most_size_mb: Annotated[
        float | None, typer.Option(help="With mixed: the most accurate whose weights take no more.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder that receives MODEL-TARGET[-SCHEME].")] = Path(
        "artifacts"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace an artifact that is already there.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Make it anew even if it was made before.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell what each pass changed, and what it refused and why.")
    ] = False,
    ablate: Annotated[bool, typer.Option("--ablate", help="Also measure the artifact without each pass.")] = False,
    json: Json = False,
) -> None:
    """Export a model, prove the artifact against PyTorch, and write it with its evidence."""
    from edgekit import api, console, targets

    asked: list[str | None] = list(dict.fromkeys(target)) if target else [None]
    for named in target or ():
        targets.find(named)  # all of them, before any work is done
    request: dict[str, Any] = {
        "device": device,
        "weights": weights,
        "input_size": input_size,
        "input_shapes": _shapes(input_shape),
        "max_batch": max_batch,
        "precision": precision,
        "passes": None if passes is None else tuple(name.strip() for name in passes.split(",") if name.strip()),
        "approximations": tuple(approximate) if approximate else None,
        "quantize": _quantize(
            scheme=quantize,
            calibration=calibration,
            ranges=ranges,
            least_sqnr_db=least_sqnr_db,
            most_latency_ms=most_latency_ms,
            most_size_mb=most_size_mb,
        ),
    }
    made: list[Artifact] = []
    common = {**request, "output": output, "force": force, "use_cache": not no_cache}
    try:
        for one in asked:
            with console.progress(f"{model} to {one or 'its target'}", silent=json) as announce:
                made.append(api.export(model, one, announce=announce, **common))
    finally:
        if made and not json:
            console.show_artifacts(made)  # also the ones before the one that failed
    ablations = {}
    if ablate:
        with console.progress("ablating", silent=json) as announce:
            ablations = api.ablate(made, announce=announce)
    described = [(artifact, ablations.get(artifact.manifest.target, [])) for artifact in made]
    if json:
        console.show_json([{**one.as_dict(), "ablation": [line.as_dict() for line in lines]} for one, lines in described])
    elif explain or ablate:
        for artifact, lines in described:
            console.show_passes(artifact, lines)


def verify(
    artifact: ArtifactDirectory,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="Also name the operator that departs first, and its module (Core ML).")
    ] = False,
    json: Json = False,
) -> None:
    """Check an artifact's files, run it on its reference inputs, and compare with the eager model's outputs."""
    from edgekit import api, console

    with console.progress(f"verifying {artifact}", silent=json) as announce:
        record = api.verify(artifact)
        announce("comparing every operator")
        found = api.bisect(artifact) if bisect else None
    if json:
        console.show_json(record.model_dump(mode="json") | ({"bisection": found.as_dict()} if found else {}))
    else:
        console.show_parity(record)
        if found:
            console.show_bisection(found)
    if False in (record.conversion.passed, record.precision.passed):
        raise typer.Exit(1)


def inspect(
    artifact: Annotated[Path, typer.Argument(help="An artifact, or a bare .onnx, .pte or .mlpackage.")],
    json: Json = False,
) -> None:
    """Tell what an artifact consists of: operators, weights, memory, what is delegated; for Core ML also what may keep it
    off the Neural Engine, and what mends that."""
    from edgekit import api, console

    with console.progress(f"inspecting {artifact}", silent=json):
        report = api.inspect(artifact)
    if json:
        console.show_json(report.as_dict())
    else:
        console.show_inspection(report)


def predict(
    artifact: ArtifactDirectory,
    photo: Annotated[Path, typer.Argument(help="A JPEG or PNG.")],
    json: Json = False,
) -> None:
    """Classify a photograph, preprocessed as the manifest says, and print the top five."""
    import dataclasses

    from edgekit import api, console
    from edgekit.artifact import load

    with console.progress(f"classifying {photo}", silent=json):
        predictions = api.predict(artifact, photo)
    real = load(artifact).manifest.model.weights != "seeded"
    if json:
        console.show_json({"weights_are_real": real, "top": [dataclasses.asdict(p) for p in predictions]})
    else:
        console.show_predictions(predictions, real=real)


def _shapes(given: list[str] | None) -> tuple[tuple[int, ...], ...] | None:
    if not given:
        return None
    try:
        return tuple(tuple(int(size) for size in shape.split(",")) for shape in given)
    except ValueError:
        raise UsageError(
            f"--input-shape {' '.join(given)} is no shape", next_step="write sizes with commas: --input-shape 1,3,224,224"
        ) from None


def _quantize(**given: Any) -> dict[str, Any] | None:
    asked = {key: value for key, value in given.items() if value is not None}
    if asked and "scheme" not in asked:
        raise UsageError(
            f"--{next(iter(asked)).replace('_', '-')} is for quantization", next_step="add --quantize SCHEME, such as int8"
        )
    return asked or None


COMMANDS = (models, devices, doctor, export, verify, inspect, predict)
