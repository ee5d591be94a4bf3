"""Under what it was measured: the machines, their state, and what each measurement was given."""

from __future__ import annotations

from edgekit.profiling.measurement import DeviceState, Fingerprint
from edgekit.report.collection import Collection
from edgekit.report.content import NO_MEASUREMENTS, Cell, Column, Section, Table, number, words
from edgekit.report.entry import Entry
from edgekit.report.quantities import counted, listed

_MACHINE_COLUMNS = tuple(map(Column, ("device", "hardware", "system", "processor", "instruction sets", "cores", "gpu")))
_RUN_COLUMNS = (
    Column("subject"),
    Column("as it was given"),
    Column("results file"),
    Column("started, UTC"),
    Column("job"),
    Column("runtime"),
    Column("threads", number=True),
    Column("mode"),
    Column("inputs"),
)
_STATE_COLUMNS = (
    Column("subject"),
    Column("governor"),
    Column("clock GHz"),
    Column("mean clock GHz"),
    Column("hottest °C"),
    Column("thermal status"),
    Column("load, 1 min"),
    Column("battery"),
    Column("threads spin"),
    Column("parity on the device"),
)


def section(collection: Collection) -> Section:
    """The conditions of every measurement shown."""
    shown = collection.shown
    if not shown:
        return Section("conditions", "Conditions", absent=NO_MEASUREMENTS)
    machines = {_machine(entry.measurement.fingerprint): None for entry in shown}
    return Section(
        "conditions",
        "Conditions",
        sentences=("Absolute figures compare only where these are the same. An arrow goes from before the job to after it.",),
        tables=(
            Table(counted(len(machines), "machine"), _MACHINE_COLUMNS, tuple(machines)),
            Table("What each measurement was given", _RUN_COLUMNS, tuple(_run(entry) for entry in shown)),
            Table("The state of the device", _STATE_COLUMNS, tuple(_state(entry) for entry in shown)),
        ),
    )


def _machine(fingerprint: Fingerprint) -> tuple[Cell, ...]:
    cores = None if fingerprint.cores is None else str(fingerprint.cores)
    flags = " ".join(fingerprint.cpu_flags or ())
    of = (fingerprint.device, fingerprint.hardware, fingerprint.os, fingerprint.cpu, flags, cores, fingerprint.gpu)
    return tuple(words(text) for text in of)


def _run(entry: Entry) -> tuple[Cell, ...]:
    measurement, fingerprint = entry.measurement, entry.measurement.fingerprint
    conditions = measurement.conditions
    shapes = [f"{name} {'x'.join(map(str, shape))}" for name, shape in (conditions.input_shapes or {}).items()]
    started = measurement.started_at if entry.started is None else entry.started.strftime("%Y-%m-%d %H:%M:%S")
    threads = fingerprint.threads
    source = f"{measurement.provenance} from {measurement.source}" if measurement.source else ""
    return (
        words(entry.label, marks=entry.marks),
        words(measurement.subject, detail=source),
        words(str(entry.file)),
        words(started),
        words(measurement.job[:8]),
        words(fingerprint.runtime),
        number(threads, str(threads)) if threads else Cell("its own", None),
        words(conditions.mode),
        words(conditions.inputs, detail=listed(shapes)),
    )


def _state(entry: Entry) -> tuple[Cell, ...]:
    measurement = entry.measurement
    conditions, parity = measurement.conditions, measurement.parity
    before, after = conditions.before or DeviceState(), conditions.after or DeviceState()
    judged = None
    if parity is not None:
        judged = f"{'right' if parity.passed else 'WRONG'}: {parity.sqnr_db:.1f} dB of {parity.bound_sqnr_db:.0f}"
    return (
        words(entry.label, marks=entry.marks),
        words(listed(before.governors or ())),
        words(_change(_gigahertz(before.clock_hz), _gigahertz(after.clock_hz))),
        words(_gigahertz(conditions.mean_clock_hz)),
        words(_change(_hottest(before), _hottest(after))),
        words(_change(_plain(before.thermal_status), _plain(after.thermal_status))),
        words(_change(_plain(before.load_1min), _plain(after.load_1min))),
        words(_change(_battery(before), _battery(after))),
        words({True: "yes", False: "no", None: None}[conditions.spinning]),
        words(judged),
    )


def _change(before: str | None, after: str | None) -> str | None:
    if before is None or after is None or before == after:
        return before or after
    return f"{before} → {after}"


def _gigahertz(clocks: tuple[float, ...] | None) -> str | None:
    """The cores' clocks: their range."""
    if not clocks:
        return None
    low, high = (f"{clock / 1e9:.2f}" for clock in (min(clocks), max(clocks)))
    return low if low == high else f"{low} to {high}"


def _hottest(state: DeviceState) -> str | None:
    return f"{max(state.temperature_c.values()):.0f}" if state.temperature_c else None


def _plain(value: float | None) -> str | None:
    return None if value is None else f"{value:g}"


def _battery(state: DeviceState) -> str | None:
    if state.battery_percent is None and state.charging is None:
        return None
    level = None if state.battery_percent is None else f"{state.battery_percent:.0f} %"
    charging = {True: "charging", False: "not charging", None: None}[state.charging]
    return ", ".join(filter(None, (level, charging)))
