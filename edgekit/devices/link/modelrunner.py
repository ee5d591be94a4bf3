"""coremltools' ModelRunner, an app that loads and runs Core ML models on a phone, which it times there.

coremltools builds it with xcodebuild, launches it with devicectl, and talks to it by copying files: a prediction of a
millisecond takes a second or two. Unverified on hardware.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import re
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil

from edgekit import scratch
from edgekit.devices.link import devicectl
from edgekit.devices.link.devicectl import Phone
from edgekit.errors import DeviceError, EdgekitError, Unsupported, UsageError
from edgekit.quiet import quiet
from edgekit.reference_inputs import Outputs

TEAM = "EDGEKIT_APPLE_TEAM"
"""The environment variable that names the Apple developer team that signs the app."""

_T = TypeVar("_T")


class ModelRunner:
    """The app on one phone, built and launched when first asked. `close` ends it."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self._held = contextlib.ExitStack()
        self._loop: asyncio.Runner = self._held.enter_context(asyncio.Runner())
        self._device: Any = None
        self.answers = True
        """Whether the phone did what it was last asked."""

    @property
    def runtime(self) -> str:
        return f"Core ML (all, ModelRunner of coremltools {importlib.metadata.version('coremltools')})"

    def outputs(self, model_file: Path, samples: Sequence[Outputs]) -> list[Outputs]:
        """What the phone computes for each of `samples`. Raises DeviceError when it is lost, locked or refuses."""
        return self._ask(self._outputs(model_file, samples))

    def open(self, model_file: Path) -> RemoteModel:
        """The model, loaded on the phone. Raises as `outputs`."""
        model = RemoteModel(self, self._benchmarker(model_file))
        model.load()
        return model

    def close(self) -> None:
        """End the app's console: the shell that coremltools started, and devicectl in it."""
        if self._device is not None:
            console = self._device.session._process
            with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended by itself
                for process in psutil.Process(console.pid).children(recursive=True):
                    process.terminate()
            console.terminate()
            console.wait()
        self._device = None
        self._held.close()

    def _benchmarker(self, model_file: Path) -> Any:
        with quiet():
            import coremltools
            from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

            model = coremltools.models.MLModel(str(model_file), skip_model_load=True)
        self._ask(self._prepare())
        return MLModelBenchmarker(model, device=self._device)

    async def _outputs(self, model_file: Path, samples: Sequence[Outputs]) -> list[Outputs]:
        await self._prepare()
        import coremltools
        from coremltools.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper

        # MLModelBenchmarker throws the outputs away
        model = coremltools.models.MLModel(str(model_file), skip_model_load=True)
        wrapper = MLModelAsyncWrapper.from_spec_or_path(model.get_spec(), weights_dir=model.weights_dir, device=self._device)
        await wrapper.load()
        found = [dict(await wrapper.predict(inputs)) for inputs in samples]
        await wrapper.unload()
        return found

    async def _prepare(self) -> None:
        """Build the app and launch it, once."""
        if self._device is not None:
            return
        from coremltools.models.ml_program.experimental import remote_device

        _require_tools()
        team = _team()
        # A model's finalizer would unload it by a coroutine that nobody awaits, or fail where the loop is closed.
        remote_device._RemoteMLModelService.__del__ = lambda service: None
        folder = self._held.enter_context(scratch.folder())
        connected = remote_device.Device.get_connected_devices(remote_device.DeviceType.IPHONE)
        device = next((one for one in connected if one.udid == self.phone.udid), None)
        if device is None:
            raise devicectl.refused(self.phone, "devicectl does not list it as connected")
        self._device = await device.prepare_for_model_debugging(
            credentials=remote_device.AppSigningCredentials(
                development_team=team,
                # taken once among all developers: the team's own
                bundle_identifier=f"edgekit.team{team}.modelrunner",
            ),
            working_directory=folder,
        )

    def _ask(self, question: Coroutine[Any, Any, _T]) -> _T:
        """The answer. Whatever coremltools raises becomes an error that says what to do."""
        try:
            with quiet():
                return self._loop.run(question)
        except EdgekitError:
            raise
        except Exception as error:  # it has no class of its own for most of them
            self.answers = False
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> DeviceError:
        """What an error of coremltools' means."""
        message = getattr(error, "message", None) or str(error) or type(error).__name__
        said = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
        session = getattr(self._device, "session", None)
        if session is None:
            return devicectl.refused(self.phone, said)
        if not session.is_alive():  # coremltools does not look
            console = session._process.stderr.read().decode(errors="replace").strip()
            return devicectl.refused(self.phone, console or f"the app on it has ended: disconnected, or crashed ({said})")
        if self._is_there():
            return DeviceError(
                f"{self.phone.name} refused, or did not answer in time",
                cause=said.strip(),
                next_step="coremltools looks for an answer twenty times: what takes longer, edgekit xcode ARTIFACT measures",
            )
        return devicectl.refused(self.phone, f"disconnected: {said}")

    def _is_there(self) -> bool:
        with contextlib.suppress(DeviceError):
            return any(phone.udid == self.phone.udid and phone.tunnel == "connected" for phone in devicectl.phones())
        return False


class RemoteModel:
    """A model loaded on the phone."""

    load_s: float | None = None
    """Null where the app had it loaded already, which coremltools reports as 0."""

    def __init__(self, runner: ModelRunner, benchmarker: Any) -> None:
        self._runner, self._benchmarker = runner, benchmarker

    def load(self) -> None:
        """Send it and load it."""
        [load_ms] = self._runner._ask(self._benchmarker.benchmark_load(iterations=1)).samples
        self.load_s = load_ms / 1e3 or None

    def predict(self, inputs: Outputs) -> float:
        """Seconds of one prediction, timed on the phone."""
        given = {name: np.ascontiguousarray(array) for name, array in inputs.items()}  # strides are sent, bytes in C order
        [latency_ms] = self._runner._ask(self._benchmarker.benchmark_predict(given, iterations=1, warmup=False)).samples
        if not latency_ms > 0:
            raise DeviceError(
                f"{self._runner.phone.name} tells no time for a prediction",
                cause=f"it took {latency_ms} ms, it says",
                next_step="measure with Xcode: edgekit xcode ARTIFACT --output DIR",
            )
        return float(latency_ms) / 1e3

    def close(self) -> None:
        """Unload it, where the phone still answers."""
        if self._runner.answers:
            with contextlib.suppress(DeviceError):
                self._runner._ask(self._benchmarker._loaded_model.unload())


def _team() -> str:
    team = os.environ.get(TEAM, "")
    if not re.fullmatch(r"[A-Z0-9]{10}", team):
        raise UsageError(
            "no Apple developer team signs the app that runs models on the phone",
            cause=f"{TEAM} is {team!r}: a team's identifier has ten capital letters and digits",
            next_step=f"set it: export {TEAM}=ABCDE12345 (developer.apple.com/account, Membership details)",
        )
    return team


def _require_tools() -> None:
    """coremltools calls these by their bare names, and does not quote paths."""
    if shutil.which("xcodebuild") is None:
        raise Unsupported(
            "there is no xcodebuild here", next_step="install Xcode, then: sudo xcode-select -s /Applications/Xcode.app"
        )
    if shutil.which("devicectl") is None:
        raise Unsupported(
            "coremltools does not find devicectl",
            cause="it calls it without xcrun",
            next_step='export PATH="$PATH:$(dirname "$(xcrun --find devicectl)")"',
        )
    if re.search(r"\s", tempfile.gettempdir()):
        raise DeviceError(
            f"coremltools cannot work in {tempfile.gettempdir()}",
            cause="it does not quote paths",
            next_step="export TMPDIR=/tmp",
        )
