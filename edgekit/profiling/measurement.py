"""What a measurement holds, and its JSON.

Base units with the unit in the name; what is unknown is null, never zero, and says why where a reader would ask.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from edgekit.errors import InputError

SCHEMA_VERSION: Final = 2
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
class Memory:
    """What one process took; null where the device does not tell."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    run_peak_bytes: int | None = None
    """Growth of the resident set from just before opening the model to its largest while it loaded and ran."""
    process_peak_bytes: int | None = None
    """Largest resident set of the whole process: interpreter, runtime libraries and model."""
    gpu_peak_bytes: int | None = None
    """Largest allocation on the GPU; null for a runtime without one."""


@dataclass(frozen=True)
class Process:
    """What one fresh process measured. Null is what its device does not tell."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    latency_s: Annotated[tuple[_Latency, ...], Field(min_length=1)]
    """Seconds of every timed run, in order, warm-up left out."""
    block_runs: tuple[int, ...]
    """How many of those runs each block held; the other subjects ran between the blocks."""
    memory: Memory
    warmup_runs: int | None = None
    """Untimed runs after the first one and before the first block."""
    warmup_s: float | None = None
    steady: bool | None = None
    """Whether rolling medians came to agree within 2 % during the warm-up."""
    load_s: float | None = None
    """Opening the model, the libraries that its runtime lists in `LIBRARIES` already imported."""
    load_was_cold: bool | None = None
    """Whether the model's files had been put out of the page cache before."""
    first_run_s: float | None = None
    """The first run after opening."""
    waited_share: float | None = None
    """Share of the timed blocks for which its threads were ready to run while something else had their core: latencies
    then include the waiting. Linux tells."""
    waited_s: tuple[float, ...] | None = None
    """Of each timed run, for how long the calling thread was ready to run while something else had its core: `latency_s`
    includes it, comparisons leave it out. Null where unknown, and for what computes elsewhere or in several threads."""
    cores: tuple[int, ...] | None = None
    """The cores the process was pinned to; null when it could move."""


@dataclass(frozen=True)
class Model:
    """What was run, as far as it is known without running it."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    name: str
    """The model's name in the manifest; the file's stem or the subject's name without one."""
    target: str
    """onnx, coreml or executorch; `eager`, or another way of running a PyTorch module."""
    precision: str | None = None
    quantization: str | None = None
    sha256: str | None = None
    """Of the model's files; null for a model that is not a file (PyTorch eager)."""
    size_bytes: int | None = None
    """Of the model's files, or of its weights for a model that is not a file."""
    weight_bytes: int | None = None
    arena_bytes: int | None = None
    """Memory planned for activations before it runs (ExecuTorch), or the peak of what is alive at once in its order."""
    macs: int | None = None
    """Multiply-adds of one run."""
    operators: int | None = None
    """Operators in the model's file."""
    delegated_fraction: float | None = None
    """Share of the operators that an accelerator's delegate takes; null where the format has no delegates."""


@dataclass(frozen=True)
class DeviceState:
    """The device's condition at one moment; null is what it does not tell."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    governors: tuple[str, ...] | None = None
    """The cores' frequency governors, each named once."""
    clock_hz: tuple[float, ...] | None = None
    """Each core's clock."""
    temperature_c: dict[str, float] | None = None
    """By sensor."""
    thermal_status: int | None = None
    """Android's, from 0 (none) to 6 (shutdown)."""
    load_1min: float | None = None
    """Runnable programs, mean over a minute."""
    charging: bool | None = None
    battery_percent: float | None = None


@dataclass(frozen=True)
class Conditions:
    """Under what the runs were made."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    inputs: str
    """What the model was run on."""
    input_shapes: dict[str, tuple[int, ...]] | None = None
    batch: int | None = None
    """That was asked for; null for that of the example."""
    mode: Literal["burst", "sustained"] = "burst"
    """`burst`: short blocks of runs, the other subjects between them. `sustained`: one subject without a pause."""
    spinning: bool | None = None
    """Whether the runtime's threads spin while they wait; null where it cannot be told."""
    before: DeviceState | None = None
    after: DeviceState | None = None
    mean_clock_hz: tuple[float, ...] | None = None
    """Each core's mean clock over the job, where the device keeps count: it shows clocks that were capped meanwhile."""


@dataclass(frozen=True)
class Energy:
    """Energy of one run. A counter that did not move is not zero joules: then `gross_j` is null and `status` says why."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    status: Literal[
        "measured",
        "not_requested",
        "no_counter",
        "permission_denied",
        "counter_static",
        "window_too_short",
        "charging",
    ]
    reason: str | None = None
    """What to do about it where it was not measured; what makes it doubtful where it was."""
    gross_j: float | None = None
    """Joules a run of everything in `scope`, the idle device's share included."""
    net_j: float | None = None
    """`gross_j` less what the idle device takes in the same time."""
    idle_w: float | None = None
    meter: str | None = None
    """The file in `edgekit/profiling/energy/` that read it."""
    scope: str | None = None
    """What the counter covers: package, package and memory, gpu, rails, whole device."""
    method: str | None = None
    """Which counter, and how it was read."""
    window_s: float | None = None
    """How long the runs went on between its two readings."""
    runs: int | None = None


@dataclass(frozen=True)
class OperatorTime:
    """One operator of one run."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    name: str
    """As the runtime calls it."""
    operator: str
    """Its kind, such as Conv."""
    time_s: float
    """Median over the profiled runs."""
    module: str | None = None
    """The source module, such as `blocks3.4.mixer`."""
    macs: int | None = None
    bytes_moved: int | None = None
    """Its inputs, weights and outputs, each once."""
    floor_s: float | None = None
    """The roofline's time for it."""
    shapes: str | None = None
    """Of its operands and results, as `1x384x4x4, 768x384x1x1 -> 1x768x4x4`."""


@dataclass(frozen=True)
class OperatorProfile:
    """Where the time of a run goes. Made in runs of its own: profiling slows a runtime down."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    operators: tuple[OperatorTime, ...] = ()
    runs: int = 0
    reason: str | None = None
    """Why there are none, and how to get them; null when there are."""


@dataclass(frozen=True)
class DeviceParity:
    """The outputs of the reference inputs, run on the device itself, against the eager model's."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    sqnr_db: float
    bound_sqnr_db: float
    passed: bool


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
    """As it was given: host, cuda, ssh:user@board, android:SERIAL, iphone:UDID, or a device profile's name."""
    hardware: str | None
    """What the device calls itself: a board's, a phone's or a processor's name."""
    os: str
    cpu: str | None
    cpu_flags: tuple[str, ...] | None
    """The instruction sets that matter to inference, and `hypervisor` on a virtual machine."""
    cores: int | None
    """Logical cores the measurement may use."""
    gpu: str | None
    """Name and driver; null where the run used none."""
    threads: int | None
    """Threads the runtime computes with; null for one that chooses its own."""
    runtime: str
    """Name and version."""
    edgekit: str
    """The version that measured."""


@dataclass(frozen=True)
class Measurement:
    """One subject, measured. The statistics are over the runs of all processes; `processes` keeps every sample."""

    __pydantic_config__: ClassVar[ConfigDict] = _NO_OTHER_KEYS

    subject: str
    """The artifact directory, model file or model name, as it was given."""
    model: Model
    job: str
    """Random id of the call. Subjects of one job were interleaved: drift of the machine hit them alike."""
    started_at: str
    """ISO 8601, UTC."""
    provenance: Literal["measured", "replayed", "ingested"]
    source: str | None
    """The recording that was replayed or the file that was ingested; null for what was measured."""
    conditions: Conditions
    fingerprint: Fingerprint
    p50_s: Estimate
    p90_s: Estimate
    p99_s: Estimate
    mad_s: float
    """Median absolute deviation from the median."""
    outliers: int
    """Runs slower than the third quartile by more than three times the interquartile range."""
    drift: float | None
    """Median of a process's last quarter over that of its first: the median over the processes; null below 8 runs a process."""
    steady: bool | None
    """Whether most processes were steady after their warm-up; null where unknown, as is the next."""
    waited_share: float | None
    """That of the process that waited most."""
    cold_load_s: float | None
    """Opening the model when its files had to be read from the disk: the median over the processes, as are the next two."""
    warm_load_s: float | None
    """Opening the model when its files were in the page cache."""
    first_run_s: float | None
    memory: Memory
    """Largest over the processes."""
    energy: Energy
    floor: Floor
    processes: Annotated[tuple[Process, ...], Field(min_length=1)]
    parity: DeviceParity | None = None
    """Null for a subject without reference inputs, and on a device that computes as this machine does."""
    operators: OperatorProfile | None = None
    """Null when not asked for."""
    reference_timing: bool = False
    """Whether an interpreter made to be right was timed, in place of a runtime that does not run here: its figures say nothing
    of that runtime or of a phone."""
    interrupted: str | None = None
    """What ended the job before its time; the samples are those taken until then."""
    schema_version: Literal[2] = SCHEMA_VERSION

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
