"""What a measurement holds, and its JSON.

Base units with the unit in the name; what is unknown is null, never zero, and says why where a reader would ask.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from edgekit.errors import InputError

SCHEMA_VERSION: Final = 1
_NO_OTHER_KEYS: ConfigDict = {"extra": "forbid", "strict": True}
_Latency = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Estimate:
    """A statistic and its 95 % interval."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    value: float
    low: float | None
    high: float | None
    reason: str | None = None
    """Why there is no interval; null when there is one."""


@dataclass(frozen=True)
class Process:
    """What one fresh process measured. Files are in the page cache when it starts: `cold` means a new process, not a
    new boot."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    latency_s: Annotated[tuple[_Latency, ...], Field(min_length=1)]
    """Seconds of every timed run, in order, warm-up left out."""
    block_runs: tuple[int, ...]
    """How many of those runs each block held; the other subjects ran between the blocks."""
    warmup_runs: int
    """Untimed runs after the first one and before the first block."""
    warmup_s: float
    steady: bool
    """Whether rolling medians came to agree within 2 % during the warm-up."""
    cold_load_s: float
    """Opening the model, the libraries that its runtime lists in `LIBRARIES` already imported."""
    first_run_s: float
    """The first run after opening."""
    waited_share: float | None
    """Share of the timed blocks for which its threads were ready to run while something else had their core: latencies
    then include the waiting. Null where the system does not tell (Linux does)."""
    load_memory_bytes: int
    """Growth of the resident set from just before opening the model to after the last run."""
    peak_memory_bytes: int
    """Largest resident set of the whole process: interpreter, runtime libraries and model."""
    core: int | None
    """The core the process was pinned to; null when it could move."""


@dataclass(frozen=True)
class Floor:
    """The roofline: no fp32 run can take less than its multiply-adds at the machine's peak, nor less than reading its
    weights, inputs and outputs once (Williams, Waterman and Patterson 2009)."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    floor_s: float | None
    bound: Literal["compute", "memory"] | None
    """Which of the two sets the floor."""
    reason: str | None
    """Why there is no floor; null when there is one."""
    beaten: bool | None
    """Whether the measured median is below the floor: then the peak below is not the machine's best, or the model runs
    from the processor's cache."""
    bytes_moved: int | None
    """Model file, inputs and outputs."""
    peak_macs_per_s: float | None
    """Fastest fp32 matrix multiplication seen on this machine at this thread count."""
    peak_bytes_per_s: float | None
    """Fastest read of main memory seen on this machine at this thread count."""
    peak_calm: bool | None
    """Whether the machine was calm when its peaks were measured; if not, they may be too low and the floor too high."""


@dataclass(frozen=True)
class Fingerprint:
    """What the numbers depend on besides the model. Absolute numbers compare only where it is the same."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    device: str
    """The device profile's name."""
    os: str
    cpu: str | None
    cpu_flags: tuple[str, ...] | None
    """The instruction sets that matter to inference, and `hypervisor` on a virtual machine."""
    cores: int
    """Logical cores the measurement may use."""
    threads: int | None
    """Threads the runtime computes with; null for one that chooses its own."""
    runtime: str
    """Name and version."""
    artifact_sha256: str | None
    """Null for a model that is not a file (PyTorch eager)."""
    edgekit: str
    """The version that measured."""


@dataclass(frozen=True)
class Measurement:
    """One subject, measured. The statistics are over the runs of all processes; `processes` keeps every sample."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    subject: str
    """The artifact directory, model file or model name, as it was given."""
    job: str
    """Random id of the call. Subjects of one job were interleaved: drift of the machine hit them alike."""
    started_at: str
    """ISO 8601, UTC."""
    inputs: str
    """What the model was run on."""
    p50_s: Estimate
    p90_s: Estimate
    p99_s: Estimate
    mad_s: float
    """Median absolute deviation from the median."""
    drift: float | None
    """Median of a process's last quarter over that of its first, of the process where it is furthest from 1; null
    below 8 runs a process."""
    steady: bool
    """Whether every process was steady after its warm-up."""
    waited_share: float | None
    """That of the process that waited most; null where unknown."""
    energy_j: float | None
    """Joules a run."""
    energy_status: Literal["not_requested"]
    """Why `energy_j` is null."""
    cold_load_s: float
    """Median over the processes, as is the next."""
    first_run_s: float
    load_memory_bytes: int
    """Largest over the processes, as is the next."""
    peak_memory_bytes: int
    macs: int | None
    """Multiply-adds of one run."""
    model_bytes: int | None
    """Size of the model's files, or of its weights for a model that is not a file."""
    floor: Floor
    fingerprint: Fingerprint
    processes: Annotated[tuple[Process, ...], Field(min_length=1)]
    reference_timing: bool = False
    """Whether an interpreter made to be right was timed, in place of a runtime that does not run here: its figures say nothing
    of that runtime or of a phone."""
    schema_version: Literal[1] = SCHEMA_VERSION

    @property
    def runs(self) -> int:
        """Timed runs of all processes."""
        return sum(len(process.latency_s) for process in self.processes)

    def as_dict(self) -> dict[str, Any]:
        """The measurement as JSON holds it."""
        return dict(_adapter().dump_python(self, mode="json"))

    def to_json(self) -> str:
        """The measurement as one JSON object."""
        return _adapter().dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str, *, where: str = "the measurement") -> Measurement:
        """The measurement that `to_json` wrote; `where` names it in errors. Raises InputError for anything else."""
        try:
            return _adapter().validate_json(text)
        except ValidationError as error:
            problems = {".".join(map(str, problem["loc"])): problem["msg"] for problem in error.errors()}
            if "schema_version" in problems:  # it explains all the others
                problems = {"schema_version": problems["schema_version"]}
            key, problem = next(iter(problems.items()))
            raise InputError(
                f"{where} is not a measurement that this edgekit reads (schema version {SCHEMA_VERSION})",
                cause=f"{key}: {problem}" if key else problem,
                next_step="give what `edgekit profile --json` of this version wrote, or measure again",
            ) from None


@functools.cache
def _adapter() -> TypeAdapter[Measurement]:
    return TypeAdapter(Measurement)
