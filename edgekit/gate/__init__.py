"""The gate: results against budgets, with three answers.

::

    budgets   what each model may cost            results     what was measured, evaluated, or only exported
       └────────────┬───────────────────────────────┘
                verdicts    PASS, FAIL, INCONCLUSIVE: `quantities` reads, `intervals` and `collecting` bound the error
                    │
            junit, summary, and the table of the command
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import Interrupted, UsageError
from edgekit.gate import budgets as budgets_file
from edgekit.gate import results as given_results
from edgekit.gate import verdicts
from edgekit.gate.baselines import Baseline
from edgekit.gate.budgets import QUANTITIES, Budget
from edgekit.gate.collecting import Measure, collect
from edgekit.gate.results import Result
from edgekit.gate.verdicts import Report, Verdict
from edgekit.profiles import HOST
from edgekit.profiling import Settings, profile
from edgekit.profiling.measurement import Measurement

__all__ = ["Report", "Verdict", "gate", "gate_by_measuring"]


def gate(budgets: str | Path, results: Sequence[str | Path], *, baseline: Sequence[str | Path] = ()) -> Report:
    """The verdicts of a budgets file on results files, artifacts, and folders of them; relative limits are held to those of
    `baseline`.

    Raises UsageError for a budgets file that is not one, when it speaks of none of the results, and for a baseline measured on
    something else; InputError for results that are missing or damaged.
    """
    limits, given = budgets_file.read(Path(budgets)), given_results.read(map(Path, results))
    before = given_results.read(map(Path, baseline))
    return verdicts.report(limits, given, verdicts.checks(limits, given, Baseline(before) if before else None))


def gate_by_measuring(
    budgets: str | Path,
    subjects: Sequence[str | Path],
    *,
    device: str | None = None,
    baseline: Sequence[str | Path] = (),
    cap_s: float,
    announce: Callable[[str], None] = lambda stage: None,
) -> tuple[Report, list[Measurement]]:
    """The verdicts on artifacts, model files and models (PyTorch eager), measured until every limit is decided or for about
    `cap_s` seconds each, and the measurements with all samples.

    Each is measured on `device`, or on those that the budgets that speak of it name (`host` where they name none), with as many
    threads as they say (1), in the batch they say. Artifacts and models given as `baseline` are measured in turns with them.
    Results files among the subjects are judged as they are. Raises as `gate` and `edgekit.profile` do.
    """
    if not 0 < cap_s < float("inf"):
        raise UsageError(f"cannot collect for {cap_s} s", next_step="give --cap-s a positive number of seconds")
    limits = budgets_file.read(Path(budgets))
    names = [str(subject) for subject in subjects if not _is_file_of_results(subject)]
    described = {name: given_results.unmeasured(name) for name in names}
    results = given_results.read(Path(subject) for subject in subjects if str(subject) not in described)
    verdicts.uncovered(limits, [*described.values(), *results])
    beside = [str(one) for one in baseline if not _is_file_of_results(one)]
    before = given_results.read(Path(one) for one in baseline if str(one) not in beside)
    places = {name: _places(described[name], limits, device) for name in names}
    results += [described[name] for name in names if not places[name]]
    known = [*before, *map(given_results.unmeasured, beside)]
    done = list(verdicts.checks(limits, results, Baseline(known) if known else None))
    measurements: list[Measurement] = []
    for place in dict.fromkeys(place for mine in places.values() for place in mine):
        try:
            collected = collect(
                limits,
                [name for name in names if place in places[name]],
                place.measure(announce),
                beside=beside,
                baseline=Baseline(before),
                cap_s=cap_s,
                looks=1 if place.device.startswith("replay:") else None,  # it has nothing new to tell
            )
        except Interrupted as error:
            raise Interrupted(error, [*measurements, *error.partial]) from error
        done += collected.checks
        results += collected.results
        measurements += collected.measurements
    return verdicts.report(limits, results, done), measurements


def _is_file_of_results(given: str | Path) -> bool:
    """Whether it is to be read, and not to be measured."""
    return Path(given).suffix == ".json"


@dataclass(frozen=True)
class _Place:
    """Where and how something is measured."""

    device: str
    threads: int
    batch: int | None
    energy: bool

    def measure(self, announce: Callable[[str], None]) -> Measure:
        """The function that measures there."""
        batches = () if self.batch is None else (self.batch,)
        settings = Settings(threads=self.threads, batches=batches, energy=self.energy)

        def job(names: Sequence[str]) -> list[Measurement]:
            def progress(done: int, total: int) -> None:
                announce(f"{', '.join(names)} on {self.device}: {done} of {total} steps")

            return profile(names, device=self.device, settings=settings, progress=progress)

        return job


def _places(result: Result, budgets: Sequence[Budget], device: str | None) -> list[_Place]:
    """Where and how the budgets that speak of `result` want it measured, each place once. Raises UsageError where one names no
    batch and another does: it would be held to what the other has measured."""
    energy: dict[tuple[str, int, int | None], bool] = defaultdict(bool)
    unsaid: list[int] = []
    for number, budget in enumerate(budgets, 1):
        measured = [key for key in budget.limits if QUANTITIES[key].measured]
        if measured and budget.matches(result):
            energy[device or budget.device or HOST, budget.threads or 1, budget.batch] |= "energy_mj" in measured
            unsaid += [] if budget.batch else [number]
    batches = {batch for _, _, batch in energy}
    if unsaid and len(batches) > 1:
        raise verdicts.several_batches(unsaid[0], result.subject, batches)
    return [_Place(*where, energy=asked) for where, asked in energy.items()]
