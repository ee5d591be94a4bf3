"""What artifacts cost on a device, and how accurate they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgekit.commands import Json
from edgekit.errors import Interrupted, UsageError

Subjects = Annotated[
    list[str],
    typer.Argument(
        help="Artifacts, model files, or models' names (eager; torch_compile:NAME, torch_aotinductor:NAME); measured in turns."
    ),
]
On = Annotated[str, typer.Option("--device", help="host, cuda, ssh:USER@HOST, android:SERIAL, iphone:UDID or replay:FILE.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads every runtime computes with.")]
Cores = Annotated[str | None, typer.Option(help="Cores to pin to, as 2,3.", show_default="the fastest, for one thread")]
Spinning = Annotated[
    bool | None,
    typer.Option("--spinning/--no-spinning", help="Whether threads spin while they wait.", show_default="the runtime's way"),
]
Duration = Annotated[
    float | None,
    typer.Option("--duration", help="Seconds of timed runs of each subject.", show_default="7; 60 when sustained"),
]
Batch = Annotated[list[int] | None, typer.Option(help="Run in batches of this many; repeatable.", show_default="as exported")]
Record = Annotated[Path | None, typer.Option(help="Record the session here, for --device replay:FILE.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Also write the measurements, as JSON, here.")]


def profile(
    subjects: Subjects,
    device: On = "host",
    threads: Threads = 1,
    cores: Cores = None,
    spinning: Spinning = None,
    duration: Duration = None,
    sustained: Annotated[
        bool, typer.Option("--sustained", help="One subject after another without a pause, as a camera's frames.")
    ] = False,
    batch: Batch = None,
    operators: Annotated[
        bool, typer.Option("--operators", help="Also where the time goes: by operator and by module, in runs of their own.")
    ] = False,
    energy: Annotated[
        bool, typer.Option("--energy", help="Joules a run too, by a window of its own (docs/energy.md).")
    ] = False,
    record: Record = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Measure latency, load time and memory, side by side, beside the floor the machine allows."""
    from edgekit import console

    measurements = _measured(
        subjects,
        output,
        json,
        device=device,
        record=record,
        threads=threads,
        cores=_cores(cores),
        spinning=spinning,
        duration_s=duration,
        mode="sustained" if sustained else "burst",
        batches=tuple(batch or ()),
        energy=energy,
        operators=operators,
    )
    if json:
        console.show_json([measurement.as_dict() for measurement in measurements])
    else:
        console.show_measurements(measurements)


def compare(
    subjects: Subjects,
    device: On = "host",
    threads: Threads = 1,
    cores: Cores = None,
    spinning: Spinning = None,
    duration: Duration = None,
    batch: Batch = None,
    record: Record = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Tell which of several is faster, and how sure that is: measured in one job, in turns, each against the first."""
    from edgekit import console
    from edgekit.profiling import comparison

    if len(subjects) < 2:
        raise UsageError("nothing to compare with", next_step="give two subjects or more: edgekit compare A B")
    measurements = _measured(
        subjects,
        output,
        json,
        device=device,
        record=record,
        threads=threads,
        cores=_cores(cores),
        spinning=spinning,
        duration_s=duration,
        batches=tuple(batch or ()),
    )
    found = [comparison.compare(other, measurements[0]) for other in measurements[1:]]
    if json:
        measured = [measurement.as_dict() for measurement in measurements]
        console.show_json({"measurements": measured, "comparisons": [one.as_dict() for one in found]})
    else:
        console.show_measurements(measurements)
        console.show_comparisons(found)


def _measured(subjects: list[str], output: Path | None, json: bool, **request: Any) -> list[Any]:
    """The measurements, also written to `output`; those of a job that was ended before its time are kept."""
    from edgekit import api, console
    from edgekit.profiling import results

    try:
        with console.progress("measuring", silent=json) as announce:
            measurements = api.profile(subjects, announce=announce, **request)
    except Interrupted as error:
        kept = results.keep(error.partial, output)
        if not json:
            console.show_measurements(error.partial)
        error.next_step = f"{error.next_step}; what was measured until then is in {kept}".removeprefix("; ")
        raise
    if output is not None:
        results.write(output, measurements)
    return measurements


def _cores(given: str | None) -> tuple[int, ...] | None:
    if given is None:
        return None
    try:
        return tuple(int(core) for core in given.split(","))
    except ValueError:
        raise UsageError(f"--cores {given} names no cores", next_step="write their numbers with commas: --cores 2,3") from None


def evaluate(
    subjects: Annotated[
        list[str], typer.Argument(help="Artifacts, model files, or models' names (eager), all run on the same samples.")
    ],
    data: Annotated[Path, typer.Option(help="A folder of photographs, one of them a class, or an .npz (docs/evaluate.md).")],
    reference: Annotated[
        str | None,
        typer.Option(help="What each is compared with.", show_default="the fp32 model it was made from; else the first"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Samples to draw.", show_default="all")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run of this --output that was cut short.")] = False,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Also tell what each layer of a quantized artifact costs (needs its calibration)."),
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the results, as JSON, here.")] = None,
    json: Json = False,
) -> None:
    """Tell how accurate artifacts are, and what they lost against the model they were made from, with intervals."""
    from edgekit import api, console

    try:
        with console.progress_bar("evaluating", silent=json) as progress:
            found = api.evaluate(
                subjects,
                data,
                reference=reference,
                limit=limit,
                output=output,
                resume=resume,
                sensitivity=sensitivity,
                progress=progress,
            )
    except Interrupted as error:
        if not json:
            console.show_evaluation(error.partial)
        raise
    if json:
        console.show_json([accuracy.as_dict() for accuracy in found.accuracies])
    else:
        console.show_evaluation(found.accuracies, found.notes)


def xcode(
    artifact: Annotated[Path, typer.Argument(help="A Core ML artifact.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of the project, which must not exist yet.")],
    team: Annotated[str, typer.Option(help="The Apple developer team that signs, as ABCDE12345.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a project that is already there, and all in it.")] = False,
    json: Json = False,
) -> None:
    """Write an Xcode project that proves an artifact on an iPhone and times it there (unverified on hardware)."""
    from edgekit import console
    from edgekit.xcode import write

    project = write(artifact, output, team=team, force=force)
    if json:
        console.show_json(project.as_dict())
    else:
        console.note(f"{project.directory} is written; on a Mac, with the phone's UDID (see its README.md):")
        for command in project.commands:
            console.note(command)


def ingest(
    result: Annotated[Path, typer.Argument(help="What `xcrun xcresulttool get test-results metrics --compact` printed.")],
    artifact: Annotated[Path | None, typer.Option(help="The artifact that was measured.")] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Turn Xcode's performance metrics into measurements."""
    from edgekit import console
    from edgekit.profiling import results
    from edgekit.profiling.ingest import ingest as read

    found = read(result, artifact)
    if output is not None:
        results.write(output, found.measurements)
    if json:
        console.show_json([measurement.as_dict() for measurement in found.measurements])
    else:
        console.show_measurements(found.measurements)
        for line in found.notes:
            console.note(line)


COMMANDS = (profile, compare, evaluate, xcode, ingest)
