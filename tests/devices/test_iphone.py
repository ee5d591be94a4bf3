"""`iphone:UDID` through coremltools' own code, against a stand-in for Xcode's tools and for the app on the phone: a contract
test. What else is replaced is what Linux has not: the model's compiler, and the project that xcodebuild builds the app of.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from commands import Command, assert_error

from edgekit import api, artifact, devices, profiles
from edgekit.devices.link import devicectl
from edgekit.devices.link.tape import Live
from edgekit.errors import DeviceError, Interrupted, Unsupported, UsageError
from edgekit.profiling import results
from edgekit.profiling.settings import Settings
from edgekit.runtimes import Array

UDID = "00008140-0000000000000001"
DEVICE = f"iphone:{UDID}"
READY = {
    "pairing": "paired",
    "tunnel": "disconnected",
    "developer_mode": "enabled",
    "locked": False,
    "listing": None,
    "load_ns": 42_000_000,
    "predict_ns": 900_000,
    "predictions": 0,
    "gone_after": None,
    "fails_with": None,
    "build_fails": None,
}
Change = Callable[..., Path]

rng = np.random.default_rng(0)
INPUTS = [{"bild": rng.normal(size=(1, 2, 3)).astype(np.float32), "ids": np.array([[i, 5]])} for i in range(2)]
OUTPUTS = [{"y": 2 * one["bild"], "k": one["ids"] + 1} for one in INPUTS]


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Change:
    """A Mac with a phone, on PATH; call it to change how the phone is."""
    tools, state = tmp_path / "bin", tmp_path / "phone"
    tools.mkdir()
    (state / "answers").mkdir(parents=True)
    shim = f"#!{sys.executable}\n{(Path(__file__).parent / 'fake_iphone.py').read_text(encoding='utf-8')}"
    for name in ("xcrun", "devicectl", "xcodebuild"):
        (tools / name).write_text(shim, encoding="utf-8")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_IPHONE", str(state))
    monkeypatch.setenv("EDGEKIT_APPLE_TEAM", "ABCDE12345")

    def change(**changes: object) -> Path:
        (state / "phone.json").write_text(json.dumps({**READY, **changes}), encoding="utf-8")
        return state

    change()
    return change


@pytest.fixture(scope="module")
def made(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Core ML artifact with two inputs and two outputs."""
    import coremltools
    from coremltools.converters.mil import Builder

    specs = [Builder.TensorSpec((1, 2, 3)), Builder.TensorSpec((1, 2), dtype=coremltools.converters.mil.mil.types.int32)]

    @Builder.program(input_specs=specs, opset_version=coremltools.target.iOS17)
    def program(bild, ids):  # type: ignore[no-untyped-def]  # coremltools reads the signature
        return Builder.mul(x=bild, y=np.float32(2), name="y"), Builder.add(x=ids, y=np.int32(1), name="k")

    model = coremltools.convert(program, minimum_deployment_target=coremltools.target.iOS17, skip_model_load=True)
    directory = tmp_path_factory.mktemp("core ml") / "netz-coreml"
    directory.mkdir()
    model.save(str(directory / "model.mlpackage"))
    arrays = {f"inputs/{i}/{name}": array for i, one in enumerate(INPUTS) for name, array in one.items()}
    arrays |= {f"outputs/{i}/{name}": array for i, one in enumerate(OUTPUTS) for name, array in one.items()}
    np.savez(directory / artifact.REFERENCE, **arrays)  # type: ignore[arg-type]  # numpy types only its own keywords
    fields = {
        "target": "coreml",
        "device": profiles.load("iphone").model_dump(mode="json"),
        "files": artifact.list_files(directory, [directory / "model.mlpackage"]),
    }
    artifact.write_manifest(directory, artifact.load(tiny_artifact).manifest.model_copy(update=fields))
    return directory


@pytest.fixture
def mac(phone: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Change:
    """What coremltools for macOS has besides; the app on the phone gives the reference outputs, a little off."""
    from coremltools.models.ml_program.experimental import async_wrapper, remote_device

    def compiled(model: str, destination_path: str) -> str:
        return str(shutil.copytree(model, destination_path))

    monkeypatch.setattr(async_wrapper, "compile_model", compiled)
    (tmp_path / "modelrunner" / "ModelRunner.xcworkspace").mkdir(parents=True)
    monkeypatch.setattr(
        remote_device._ModelRunnerAppBuilder, "_get_project_path", staticmethod(lambda: tmp_path / "modelrunner")
    )
    monkeypatch.setattr(remote_device._DeviceCtlRemoteService.__init__, "__defaults__", (0.01, 3))
    monkeypatch.setattr(remote_device._DeviceCtl, "_validation_done", False)
    _record(phone(), [{name: array + np.float32(1e-4) for name, array in one.items()} for one in OUTPUTS])
    return phone


def _record(state: Path, outputs: list[dict[str, Array]]) -> None:
    """What the app on the phone gives, in coremltools' format, a run after another."""
    described = []
    for number, one in enumerate(outputs):
        stored, entries = b"", {}
        for name, array in one.items():
            held = array.astype(np.int32 if name == "k" else np.float32)
            strides = [size // held.itemsize for size in held.strides]
            kind = "Int32" if name == "k" else "Float32"
            storage = {"offset": len(stored), "size": held.nbytes}
            entries[name] = {"dataType": kind, "shape": list(held.shape), "strides": strides, "storage": storage}
            stored += held.tobytes()
        (state / "answers" / f"{number}.bin").write_bytes(stored)
        described.append(entries)
    (state / "answers.json").write_text(json.dumps(described), encoding="utf-8")


def test_off_a_mac_it_says_what_to_do_instead(tiny_artifact: Path, edgekit: Command) -> None:
    assert_error(edgekit("profile", tiny_artifact, "--device", DEVICE), 4, "from a Mac with Xcode", "edgekit xcode")
    assert not [one for one in devices.connected() if one.name.startswith("iphone")]


def test_a_phone_takes_a_udid(edgekit: Command, tiny_artifact: Path) -> None:
    assert_error(edgekit("profile", tiny_artifact, "--device", "iphone"), 2, "iphone takes a UDID")


@pytest.mark.parametrize(
    ("changes", "usable", "words"),
    [
        ({}, True, ["Messtelefon: iPhone 16e, iOS 18.5"]),
        ({"tunnel": "connected"}, True, []),
        ({"tunnel": "unavailable"}, False, ["out of reach", "plug it in"]),
        ({"pairing": "unpaired"}, False, ["unpaired", "devicectl manage pair"]),
        ({"developer_mode": "disabled"}, False, ["Developer Mode"]),
    ],
)
def test_phones_are_listed_with_what_they_lack(
    phone: Change, edgekit: Command, changes: dict[str, str], usable: bool, words: list[str]
) -> None:
    phone(**changes)
    [found] = [one for one in devices.connected() if one.name.startswith("iphone")]
    assert found.name == DEVICE
    assert found.usable is usable
    assert not [word for word in words if word not in f"{found.what} {found.next_step}"]
    [listed] = [one for one in edgekit("devices", "--json").json["connected"] if one["name"] == DEVICE]
    assert listed["usable"] is usable


def test_what_is_listed_is_what_coremltools_reads(phone: Change) -> None:
    from coremltools.models.ml_program.experimental.remote_device import Device, DeviceType

    phone(tunnel="connected")
    [ours], [theirs] = devicectl.phones(), Device.get_connected_devices(DeviceType.IPHONE)
    assert (ours.udid, ours.identifier, ours.name) == (theirs.udid, theirs.identifier, theirs.name)
    assert (ours.os_version, ours.build, ours.developer_mode) == (
        theirs.os_version,
        theirs.os_build_number,
        theirs.developer_mode_state,
    )


@pytest.mark.parametrize("listing", ["", "{", "{}", '{"result": {"devices": 3}}', '{"result": {"devices": ["x"]}}'])
def test_a_listing_that_is_garbage_is_told(phone: Change, listing: str) -> None:
    phone(listing=listing)
    with pytest.raises(DeviceError, match="does not list devices") as caught:
        devicectl.phones()
    assert "not as expected" in caught.value.cause
    [found] = [one for one in devices.connected() if one.name.startswith("iphone")]
    assert not found.usable


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tunnel": "unavailable"}, ["Messtelefon cannot be used", "out of reach"]),
        ({"pairing": "unpaired"}, ["it is unpaired", "manage pair"]),
        ({"developer_mode": "disabled"}, ["Developer Mode is off"]),
    ],
)
def test_a_phone_that_cannot_be_used_says_why(
    phone: Change, made: Path, edgekit: Command, changes: dict[str, str], words: list[str]
) -> None:
    phone(**changes)
    assert_error(edgekit("profile", made, "--device", DEVICE), 4, *words)


def test_an_unknown_phone_is_told_with_those_there_are(phone: Change, made: Path, edgekit: Command) -> None:
    assert_error(edgekit("profile", made, "--device", "iphone:7"), 4, "knows no iPhone 7", f"{DEVICE} (Messtelefon)")


@pytest.mark.parametrize(
    "settings", [{"threads": 2}, {"threads": 1, "cores": (1,)}, {"spinning": True}, {"mode": "sustained"}, {"operators": True}]
)
def test_what_cannot_be_had_there_is_refused_before_anything_runs(phone: Change, settings: dict[str, object]) -> None:
    with devices.connect(DEVICE, Live()) as reached, pytest.raises(Unsupported):
        reached.check(Settings(**settings))  # type: ignore[arg-type]  # each case is one field


def test_only_core_ml_artifacts_are_taken(mac: Change, tiny_artifact: Path) -> None:
    with pytest.raises(UsageError, match="is no Core ML artifact"):
        api.profile(tiny_artifact, device=DEVICE)


def test_a_team_must_be_named(mac: Change, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_APPLE_TEAM", "x; rm -rf")
    with pytest.raises(UsageError, match="no Apple developer team") as caught:
        api.profile(made, device=DEVICE, duration_s=0.1)
    assert "export EDGEKIT_APPLE_TEAM" in caught.value.next_step


def test_a_model_is_measured_and_proved_on_the_phone(mac: Change, made: Path, tmp_path: Path) -> None:
    recording = tmp_path / "session.jsonl"
    [measured] = api.profile(made, device=DEVICE, duration_s=0.5, record=recording)
    assert measured.fingerprint.device == DEVICE
    assert measured.fingerprint.hardware == "iPhone 16e"
    assert measured.fingerprint.os == "iOS 18.5 (22F76)"
    assert measured.fingerprint.runtime.startswith("Core ML (all, ModelRunner of coremltools")
    assert measured.fingerprint.threads is None
    assert measured.warm_load_s == pytest.approx(0.042)
    assert measured.parity is not None
    assert 60 < measured.parity.sqnr_db < 120
    assert measured.parity.passed
    # two predictions prove it and one is the first run: the next is number 3
    assert measured.processes[0].latency_s[0] == pytest.approx(903e-6)
    assert measured.first_run_s == pytest.approx(902e-6)
    assert measured.runs >= 5
    assert not [one for one in psutil.Process().children(recursive=True) if "devicectl" in one.cmdline()]
    [again] = api.profile(made, device=f"replay:{recording}", duration_s=0.5)
    assert again.provenance == "replayed"
    assert again.processes == measured.processes


@pytest.mark.slow
def test_a_cached_load_is_no_load(mac: Change, made: Path) -> None:
    mac(load_ns=0)
    [measured] = api.profile(made, device=DEVICE, duration_s=0.1)
    assert measured.warm_load_s is None
    assert measured.cold_load_s is None


@pytest.mark.slow
def test_a_phone_that_computes_something_else_is_told(mac: Change, made: Path) -> None:
    _record(mac(), [{name: -array for name, array in one.items()} for one in OUTPUTS])
    [measured] = api.profile(made, device=DEVICE, duration_s=0.1)
    assert measured.parity is not None
    assert not measured.parity.passed


@pytest.mark.slow
def test_a_phone_that_is_lost_leaves_the_samples_taken(mac: Change, made: Path, edgekit: Command, tmp_path: Path) -> None:
    mac(gone_after=6)
    with pytest.raises(Interrupted) as caught:
        api.profile(made, device=DEVICE, duration_s=2.0)
    assert "out of reach" in caught.value.what
    assert "plug it in again" in caught.value.next_step
    assert len(caught.value.partial[0].processes[0].latency_s) == 3
    mac(gone_after=6)
    done = edgekit("profile", made, "--device", DEVICE, "--duration", 2, "--output", tmp_path / "kept.json", "--json")
    assert done.code == 4
    assert results.read(tmp_path / "kept.json")[0].runs == 3


def test_a_locked_phone_is_told(mac: Change, made: Path) -> None:
    mac(locked=True)
    with pytest.raises(DeviceError, match="it is locked") as caught:
        api.profile(made, device=DEVICE, duration_s=0.1)
    assert "unlock it" in caught.value.next_step


def test_an_app_that_does_not_build_is_told(mac: Change, made: Path) -> None:
    mac(build_fails="error: Signing for ModelRunner requires a development team.")
    with pytest.raises(DeviceError, match="cannot be used"):
        api.profile(made, device=DEVICE, duration_s=0.1)


@pytest.mark.slow
def test_a_model_that_fails_there_is_told(mac: Change, made: Path) -> None:
    mac(fails_with="Error computing NN outputs")
    with pytest.raises(DeviceError, match="refused, or did not answer in time") as caught:
        api.profile(made, device=DEVICE, duration_s=0.1)
    assert "Error computing NN outputs" in caught.value.cause
    assert "edgekit xcode" in caught.value.next_step


@pytest.mark.slow
def test_outputs_that_are_missing_and_times_that_cannot_be_are_told(mac: Change, made: Path) -> None:
    _record(mac(predict_ns=0), OUTPUTS)
    with pytest.raises(DeviceError, match="tells no time for a prediction"):
        api.profile(made, device=DEVICE, duration_s=0.1)
    _record(mac(), [{"y": one["y"]} for one in OUTPUTS])
    with pytest.raises(DeviceError, match="the model gives no k on the phone"):
        api.profile(made, device=DEVICE, duration_s=0.1)
