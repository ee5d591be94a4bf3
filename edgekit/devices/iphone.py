"""`iphone:UDID`, from a Mac: Core ML artifacts in the app that coremltools builds for the phone, timed there.

Every prediction is sent as files, so a second or two pass between two of them and the phone's clocks drop: these are latencies
of a model that is used now and then. `edgekit xcode` measures predictions in a row. Unverified on hardware.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from edgekit import artifact, parity, reference_inputs
from edgekit.devices import Block, Connected, Device, Facts, Opened, Trial
from edgekit.devices.link import devicectl
from edgekit.devices.link.devicectl import Phone
from edgekit.devices.link.modelrunner import ModelRunner, RemoteModel
from edgekit.devices.link.tape import Tape
from edgekit.errors import DeviceError, EdgekitError, Unsupported, UsageError
from edgekit.profiling.measurement import DeviceParity, Memory
from edgekit.profiling.plan import Plan
from edgekit.profiling.settings import Settings
from edgekit.profiling.subject import Subject
from edgekit.runtimes import coreml

_SECONDS = 60.0
"""Of a subject, round trips included: some thirty predictions."""
_BLOCK_S = 6.0
_LEAST_BLOCKS = 5


class IPhone(Device):
    """An iPhone that this Mac knows."""

    def __init__(self, name: str, udid: str, tape: Tape) -> None:
        self.name, self.tape = name, tape
        self._phone = Phone(**tape.exchange({"phone": udid}, lambda: asdict(_ready(udid))))
        self._runner: ModelRunner | None = None

    @property
    def runner(self) -> ModelRunner:
        """The app on the phone."""
        if self._runner is None:
            self._runner = ModelRunner(self._phone)
        return self._runner

    def check(self, settings: Settings) -> None:
        asked = {
            "--threads": settings.threads > 1,
            "--cores": settings.cores is not None,
            "--spinning": settings.spinning is not None,
            "--operators": settings.operators,
        }
        for option, was in asked.items():
            if was:
                raise Unsupported(
                    f"{option} cannot be had on an iPhone",
                    cause="Core ML chooses threads and processors itself, and times no operator",
                    next_step="leave it out",
                )
        if settings.mode == "sustained":
            raise Unsupported(
                "an iPhone cannot be kept busy from here",
                cause="every prediction is sent to it by files, which takes longer than the prediction",
                next_step="edgekit xcode ARTIFACT --output DIR: its testPredict20InARow runs on the phone alone",
            )

    def facts(self) -> Facts:
        phone = self._phone
        return Facts(os=f"iOS {phone.os_version} ({phone.build})", hardware=phone.hardware or None)

    def plan(self, settings: Settings) -> Plan:
        seconds = _SECONDS if settings.duration_s is None else settings.duration_s
        blocks = max(_LEAST_BLOCKS, round(seconds / _BLOCK_S))
        return Plan(processes=1, blocks=blocks, block_s=seconds / blocks)

    def start(self, subject: Subject, settings: Settings, *, cold: bool) -> Trial:
        return _IPhoneTrial(self, subject)

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()


class _IPhoneTrial(Trial):
    """One artifact, loaded in the app."""

    def __init__(self, device: IPhone, subject: Subject) -> None:
        self._device, self._subject = device, subject
        self._model: RemoteModel | None = None
        self._inputs: reference_inputs.Outputs = {}
        self._failure: EdgekitError | None = None
        answer = self._ask("open", self._open)
        answer["input_shapes"] = {name: tuple(shape) for name, shape in answer["input_shapes"].items()}
        self.opened = Opened(**{**answer, "parity": DeviceParity(**answer["parity"])})

    def warm_up(self) -> None:
        """It would have cooled down before the first timed run."""

    def block(self, duration_s: float) -> Block:
        return Block(tuple(self._ask("block", lambda: self._block(duration_s), duration_s=duration_s)))

    def run_for(self, duration_s: float) -> int:
        return len(self.block(duration_s).latency_s)

    def finish(self) -> Memory:
        return Memory()

    def close(self) -> None:
        if self._model is not None:
            self._model.close()

    def _ask(self, command: str, perform: Any, **arguments: object) -> Any:
        return self._device.tape.exchange({"subject": self._subject.label, "do": command, **arguments}, perform)

    def _open(self) -> dict[str, Any]:
        loaded = _core_ml_artifact(self._subject)
        inputs, expected = reference_inputs.read(loaded.directory / artifact.REFERENCE)
        samples = [{name: coreml.outside(array) for name, array in one.items()} for one in inputs]
        wanted = [{name: coreml.outside(array) for name, array in one.items()} for one in expected]
        bound = loaded.manifest.parity.precision.bound_sqnr_db
        found = self._device.runner.outputs(loaded.model_file, samples)
        if missing := sorted(set(wanted[0]) - set(found[0])):
            raise DeviceError(
                f"the model gives no {', '.join(missing)} on the phone",
                cause=f"it gives {', '.join(sorted(found[0])) or 'nothing'}",
                next_step="export it again, and see that it is proved on a Mac: edgekit verify",
            )
        proved = parity.compare(wanted, found, bound)
        self._inputs = samples[0]
        self._model = self._device.runner.open(loaded.model_file)
        return {
            "runtime": self._device.runner.runtime,
            "inputs": "the first reference input",
            "io_bytes": sum(array.nbytes for array in (*samples[0].values(), *wanted[0].values())),
            "input_shapes": {name: list(array.shape) for name, array in samples[0].items()},
            "load_s": self._model.load_s,
            "load_was_cold": None if self._model.load_s is None else False,  # the phone has just written its files
            "first_run_s": self._model.predict(self._inputs),
            "parity": {"sqnr_db": proved.sqnr_db, "bound_sqnr_db": bound, "passed": bool(proved.passed)},
        }

    def _block(self, duration_s: float) -> list[float]:
        """Seconds of each prediction. Those taken before the phone is lost are kept: the error comes with the next block."""
        if self._failure is not None:
            raise self._failure
        assert self._model is not None  # `open` was performed
        latency_s: list[float] = []
        ends = time.monotonic() + duration_s
        while not latency_s or time.monotonic() < ends:
            try:
                latency_s.append(self._model.predict(self._inputs))
            except DeviceError as error:
                if not latency_s:
                    raise
                self._failure = error
                break
        return latency_s


def _core_ml_artifact(subject: Subject) -> artifact.Artifact:
    if subject.directory is None or subject.model.target != "coreml":
        raise UsageError(
            f"{subject.name} is no Core ML artifact",
            cause="an iPhone is given artifacts, whose reference inputs it runs on",
            next_step="edgekit export MODEL --target coreml, and give the directory",
        )
    return artifact.load(subject.directory)


def _ready(udid: str) -> Phone:
    """The phone, its tunnel open. Raises DeviceError that says what keeps it from being used."""
    phone = _listed(udid)
    if phone.tunnel != "connected":
        devicectl.wake(phone)
        phone = _listed(udid)
    if phone.tunnel != "connected":
        raise devicectl.refused(phone, f"not connected: its tunnel stays {phone.tunnel}")
    return phone


def _listed(udid: str) -> Phone:
    phones = devicectl.phones()
    found = next((phone for phone in phones if udid in (phone.udid, phone.identifier)), None)
    if found is None:
        known = ", ".join(f"iphone:{phone.udid} ({phone.name})" for phone in phones)
        raise DeviceError(
            f"this Mac knows no iPhone {udid}",
            cause=f"it knows {known}" if known else "it knows none",
            next_step="give one of those" if known else "plug it in, unlock it, and tap Trust",
        )
    if trouble := found.trouble():
        cause, next_step = trouble
        raise DeviceError(f"{found.name} cannot be used", cause=cause, next_step=next_step)
    return found


def connect(name: str, address: str, tape: Tape) -> IPhone:
    """The phone with the UDID `address`. Raises Unsupported off a Mac, DeviceError for a phone out of reach."""
    if not address:
        raise UsageError("iphone takes a UDID", next_step="give --device iphone:UDID (see `edgekit devices`)")
    return IPhone(name, address, tape)


def connected() -> list[Connected]:
    """The phones this Mac knows; none off a Mac."""
    if not devicectl.is_here():
        return []
    try:
        phones = devicectl.phones()
    except DeviceError as error:
        return [Connected("iphone", error.what, usable=False, next_step=error.next_step)]
    found = []
    for phone in phones:
        what = f"{phone.name}: {phone.hardware}, iOS {phone.os_version}"
        cause, next_step = phone.trouble() or ("", "")
        found.append(Connected(f"iphone:{phone.udid}", f"{what}; {cause}" if cause else what, not cause, next_step))
    return found
