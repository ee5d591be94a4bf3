"""Android phones over adb: `android:SERIAL`, or `android` for the only one there is.

The runtimes' own programs measure there: `executor_runner` for ExecuTorch, `onnxruntime_perf_test` for ONNX. docs/android.md
says how to build them and to prepare a phone, and what is measured and what is not.
"""

from __future__ import annotations

import contextlib
import functools
import re
from types import ModuleType

from edgekit.devices import Connected, Device, Facts
from edgekit.devices.link import adb, executor_runner, onnxruntime_perf_test
from edgekit.devices.link.adb import AdbShell, TapedFiles
from edgekit.devices.link.phone_model import PhoneModel
from edgekit.devices.link.phone_program import PhoneProgram
from edgekit.devices.link.runner_trial import RunnerTrial
from edgekit.devices.link.tape import Tape, TapedShell
from edgekit.errors import DeviceError, EdgekitError, Unsupported
from edgekit.profiling import machine
from edgekit.profiling.plan import Plan
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject

_FOLDER = "/data/local/tmp/edgekit"
"""Of every phone: the one place where adb's shell may write and run programs."""
_PROGRAMS = (executor_runner, onnxruntime_perf_test)
_BLOCK_S = 0.5
_LEAST_PROCESSES = 5
_SEARCH_LIMIT_S = 1.5
"""For `edgekit devices`: starting adb's server takes longer on some machines, which then list no phone the first time."""

_PROPERTIES = (
    *("ro.product.manufacturer", "ro.product.model", "ro.build.version.release", "ro.build.fingerprint", "ro.soc.manufacturer"),
    *("ro.soc.model", "ro.board.platform", "ro.product.cpu.abilist"),
)
_CPUS = "/sys/devices/system/cpu"
# One script, one exchange: `name=value` lines.
_ASK = f"""for name in {" ".join(_PROPERTIES)}; do echo "$name=$(getprop $name 2>/dev/null)"; done
echo "online=$(cat {_CPUS}/online)"
echo "features=$(grep -m1 -E '^(Features|flags)' /proc/cpuinfo)"
for cpu in {_CPUS}/cpu[0-9]*; do echo "${{cpu##*/}}=$(cat $cpu/cpufreq/cpuinfo_max_freq 2>/dev/null)"; done"""


class AndroidDevice(Device):
    """A phone. Each block is a process of its own: neither program takes turns with another."""

    def __init__(self, serial: str, tape: Tape) -> None:
        self.name, self.tape = f"android:{serial}", tape
        self._adb = AdbShell(serial)
        self._files, self._shell = TapedFiles(self._adb, tape), TapedShell(self._adb, tape)
        self.shell = self._shell
        self._programs: dict[str, PhoneProgram] = {}
        self._models: dict[str, PhoneModel] = {}

    def check(self, settings: Settings) -> None:
        settings.check_cores(self._clocks, self.name)

    def facts(self) -> Facts:
        told = self._told
        maker, model, release, build = (told.get(name, "") for name in _PROPERTIES[:4])
        chip = f"{told.get('ro.soc.manufacturer', '')} {told.get('ro.soc.model', '')}".strip()
        features = told.get("features", "").partition(":")[2]
        return Facts(
            os=f"Android {release} ({build})" if release else "Android",
            hardware=f"{maker} {model}".strip() or None,
            cpu=chip or told.get("ro.board.platform") or None,
            cpu_flags=machine.relevant_flags(features) if features else None,
            cores=len(self._clocks),
        )

    def plan(self, settings: Settings) -> Plan:
        if settings.mode == "sustained":
            return Plan(processes=1, blocks=1, block_s=settings.seconds)
        return Plan(max(_LEAST_PROCESSES, round(settings.seconds / _BLOCK_S)), 1, _BLOCK_S)

    def start(self, subject: Subject, settings: Settings, *, cold: bool) -> RunnerTrial:
        """`cold` is not to be had: only root can put a file out of the phone's page cache."""
        kind = _program_for(subject, settings)
        cores = self._cores(settings)
        if subject.label not in self._models:
            self._models[subject.label] = PhoneModel(self._program(kind), self._files, _FOLDER, subject, settings, cores)
        model = self._models[subject.label]
        return RunnerTrial(model.run, model.opened, model.run_s, cores)

    def close(self) -> None:
        if self._programs:
            with contextlib.suppress(EdgekitError):  # what ended the session is told, not that nothing can be removed
                self._shell.run(["rm", "-rf", _FOLDER])

    def _program(self, kind: ModuleType) -> PhoneProgram:
        if kind.NAME not in self._programs:
            abis = [abi for abi in self._told.get("ro.product.cpu.abilist", "").split(",") if abi]
            self._programs[kind.NAME] = PhoneProgram(kind, self._adb, self.tape, f"{_FOLDER}/{kind.NAME}", abis)
        return self._programs[kind.NAME]

    @functools.cached_property
    def _told(self) -> dict[str, str]:
        done = self._shell.run(["sh", "-c", _ASK])
        pairs = (line.partition("=") for line in done.stdout.splitlines())
        return {name: value.strip() for name, _, value in pairs}

    @functools.cached_property
    def _clocks(self) -> dict[int, int]:
        """The cores online, each with its highest clock; zero where that is not told."""
        online = self._told.get("online", "")
        ranges = (re.fullmatch(r"(\d+)(?:-(\d+))?", part) for part in online.split(","))
        cores = [core for found in ranges if found for core in range(int(found[1]), int(found[2] or found[1]) + 1)]
        if not cores:
            raise DeviceError(
                f"{self.name} does not tell its cores", cause=f"{_CPUS}/online holds {online!r}", next_step="see `adb shell id`"
            )
        return {core: int(self._told.get(f"cpu{core}") or 0) for core in cores}

    def _cores(self, settings: Settings) -> tuple[int, ...] | None:
        """For one thread the fastest core, where the clocks tell which that is; of several the last, as on the host."""
        if settings.cores or settings.threads > 1 or not any(self._clocks.values()):
            return settings.cores
        return (max(self._clocks, key=lambda core: (self._clocks[core], core)),)


def _program_for(subject: Subject, settings: Settings) -> ModuleType:
    kind = next((one for one in _PROGRAMS if subject.model.target == one.TARGET), None)
    if kind is None:
        raise Unsupported(
            f"{subject.name} cannot be measured on a phone",
            cause=f"nothing there runs {subject.model.target} models: executorch and onnx ones can be",
            next_step="export it with --target executorch or --target onnx, and measure that",
        )
    if settings.spinning is not None and not kind.SPINS:
        raise Unsupported(
            f"{kind.NAME} cannot be told whether to spin", cause="it has no option for it", next_step="leave the option out"
        )
    return kind


def connect(name: str, address: str, tape: Tape) -> AndroidDevice:
    """The phone with the serial number `address`, or the only one. Raises DeviceError when adb cannot use it."""
    return AndroidDevice(tape.exchange({"phone": address}, lambda: adb.find(address)), tape)


def connected() -> list[Connected]:
    """The phones that adb sees. None where there is no adb."""
    if adb.client() is None:
        return []
    try:
        phones = adb.listed(_SEARCH_LIMIT_S)
    except DeviceError:
        return []
    return [Connected(f"android:{phone.serial}", phone.model, not phone.next_step, phone.next_step) for phone in phones]
