"""Results files: a JSON list of measurements, as `edgekit profile --output` writes it and `gate` and `report` read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgekit import cache
from edgekit.errors import InputError, OutputError
from edgekit.profiling.measurement import Measurement

if TYPE_CHECKING:
    import pandas

_AGAIN = "give a file that `edgekit profile --output` wrote"


class _Result(Protocol):
    def as_dict(self) -> dict[str, Any]: ...


def write(path: Path, results: Sequence[_Result]) -> None:
    """Write a results file, of measurements or of evaluations, whole or not at all. Raises OutputError where it cannot be
    written."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(json.dumps([one.as_dict() for one in results], indent=1) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}", cause=error.strerror or str(error), next_step="check --output") from error


def keep(measurements: Sequence[Measurement], output: Path | None) -> Path:
    """Write what a job that was ended had measured: to `output`, or beside the cache where none was asked for or it cannot be
    written. Returns where."""
    if output is not None:
        try:
            write(output, measurements)
        except OutputError:
            pass  # a full disk may well be what ended the job
        else:
            return output
    elsewhere = cache.folder() / "interrupted" / f"{measurements[0].job}.json"
    try:
        elsewhere.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {elsewhere}", cause=str(error.strerror), next_step="check --output") from error
    write(elsewhere, measurements)
    return elsewhere


def read(path: Path) -> list[Measurement]:
    """The measurements of a results file. Raises InputError that names the file and the place at fault."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot read results from {path}", cause=str(cause), next_step=_AGAIN) from error
    records = found if isinstance(found, list) else [found]
    if not records:
        raise InputError(f"{path} holds no measurements", cause="its list is empty", next_step=_AGAIN)
    return [
        Measurement.from_json(json.dumps(record), where=f"{path}, measurement {number}")
        for number, record in enumerate(records, 1)
    ]


def load_results(paths: Sequence[str | Path] | str | Path) -> pandas.DataFrame:
    """One row a measurement of results files, and of folders of them.

    Columns are the fields of `Measurement`, nested ones with dots (`p50_s.value`, `model.name`, `fingerprint.device`), in base
    units; `file` says where it was read; `runs` counts the timed runs and `latency_s` holds them all. Raises InputError for
    what is missing, damaged, empty, or written by another version.
    """
    import pandas

    several = [paths] if isinstance(paths, (str, Path)) else paths
    frame = pandas.json_normalize([row for path in several for row in _rows(Path(path))])
    nested = {name.rpartition(".")[0] for name in frame.columns}
    return frame.drop(columns=[name for name in frame.columns if name in nested])  # null in some rows, a record in others


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for file in files(path):
        for measurement in read(file):
            record = measurement.as_dict()
            samples = [latency_s for process in record.pop("processes") for latency_s in process["latency_s"]]
            yield {"file": str(file), **record, "runs": len(samples), "latency_s": samples}


def files(path: Path) -> list[Path]:
    """The results file `path`, or those in the folder `path`. Raises InputError for a folder without any."""
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.json"))
    if not found:
        raise InputError(f"{path} holds no results", cause="no .json file is in it", next_step=_AGAIN)
    return found
