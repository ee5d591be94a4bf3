"""What the phone's programs print, what a program file is, what adb says, and recorded sessions, through the whole path."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import Command, assert_error
from shims import Shims

from edgekit.devices import android, connected
from edgekit.devices.link import adb, elf, executor_runner, onnxruntime_perf_test, phone_runner
from edgekit.devices.link.tape import Live
from edgekit.errors import DeviceError, Unsupported, UsageError
from edgekit.profiling import Settings, profile

RECORDED = Path(__file__).parents[1] / "recordings" / "android"
LINE = "I 00:00:00.000200 executorch:executor_runner.cpp:779] "


def test_a_recorded_session_of_the_real_executor_runner_is_measured_again() -> None:
    device = f"replay:{RECORDED / 'executor_runner.jsonl'}"
    [measured] = profile([RECORDED / "executorch"], device=device, settings=Settings(duration_s=1.0, cores=(1,)))
    assert (measured.provenance, measured.fingerprint.device) == ("replayed", "android:127.0.0.1:5599")
    assert measured.fingerprint.hardware == "Example Phone 1"
    assert measured.fingerprint.os == "Android 14 (example/phone/phone:14/TEST/1:user/release-keys)"
    assert measured.fingerprint.runtime.startswith("executorch (executor_runner ")
    assert measured.parity is not None
    assert measured.parity.passed
    assert len(measured.processes) == 5
    for process in measured.processes:
        assert process.block_runs == (len(process.latency_s),)
        assert process.cores == (1,)
        assert process.warmup_runs
        assert process.warmup_s
        assert process.load_s
        # The first run is slow: it is told apart, and is none of the timed ones.
        assert process.first_run_s
        assert process.first_run_s > max(process.latency_s)
        assert process.memory.process_peak_bytes
    assert measured.conditions.before is not None


def test_a_recorded_session_is_replayed_from_the_command_line(edgekit: Command) -> None:
    device = f"replay:{RECORDED / 'onnxruntime_perf_test.jsonl'}"
    options = ("--duration", 1, "--cores", 1, "--no-spinning", "--json")
    [measured] = edgekit("profile", RECORDED / "onnx", "--device", device, *options).json
    assert (measured["parity"], measured["conditions"]["spinning"]) == (None, False)
    assert {len(process["latency_s"]) for process in measured["processes"]} != {0}


def test_no_recording_holds_a_path_of_the_machine_that_made_it() -> None:
    for path in RECORDED.glob("*.jsonl"):
        requests = [json.loads(line).get("request") for line in path.read_text().splitlines()]
        assert str(Path.home()) not in json.dumps(requests)
        assert "/tmp/" not in json.dumps(requests).replace("/data/local/tmp/", "")


def test_executor_runner_gives_its_runs_the_first_apart() -> None:
    text = f"{LINE}Model loaded in 12.500000 ms.\n" + "".join(f"{LINE}Iteration {i} of 3: {i}.250000 ms\n" for i in (1, 2, 3))
    told = executor_runner.read(text)
    assert told == phone_runner.Told((0.00225, 0.00325), load_s=0.0125, first_run_s=0.00125)


def test_of_a_log_that_holds_earlier_processes_the_last_one_counts() -> None:
    old = "Model loaded in 9.000000 ms.\nIteration 1 of 2: 9.000000 ms\nIteration 2 of 2: 9.000000 ms\n"
    new = "Model loaded in 1.000000 ms.\nIteration 1 of 2: 1.000000 ms\nIteration 2 of 2: 2.000000 ms\n"
    assert executor_runner.read(old + new).latency_s == (0.002,)


@pytest.mark.parametrize("text", ["", "Iteration 1 of 2: 3.000000 ms\n", "Model loaded in 1.0 ms.\nIteration 2 of 2: 3.0 ms\n"])
def test_runs_that_are_not_in_their_order_are_none(text: str) -> None:
    assert executor_runner.read(text).latency_s == ()


def test_perf_test_gives_its_result_file_and_never_its_percentiles() -> None:
    text = (
        "Session creation time cost: 0.0123 s\nFirst inference time cost: 7 ms\nP50 Latency: 0.5 s\n"
        "a,b,0.0021,1000,98,0\na,b,2.5e-03,2000,98,1\n"
    )
    told = onnxruntime_perf_test.read(text)
    assert told == phone_runner.Told((0.0021, 0.0025), load_s=0.0123, first_run_s=0.007, peak_bytes=2000)
    assert onnxruntime_perf_test.read("a,0.0021,1000,98,3\n").latency_s == ()


def test_inputs_become_what_each_program_reads() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert executor_runner.input_files({"x": array.T}) == {"input_0.bin": np.ascontiguousarray(array.T).tobytes()}
    [(name, content)] = onnxruntime_perf_test.input_files({"x": array}).items()
    tensor = onnx.TensorProto.FromString(content)
    assert (name, tensor.name) == ("test_data_set_0/input_0.pb", "x")
    assert np.array_equal(onnx.numpy_helper.to_array(tensor), array)


@pytest.mark.parametrize(("machine", "abi"), [(183, "arm64-v8a"), (40, "armeabi-v7a"), (62, "x86_64"), (8, "machine 8")])
def test_a_program_tells_its_abi(machine: int, abi: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, machine))
    assert elf.abi(program) == abi
    program.write_text("#!/bin/sh\n")
    assert elf.abi(program) is None


def test_libraries_beside_a_program_come_along_when_they_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\x7fELF\0libonnxruntime.so\0libc.so\0")
    (tmp_path / "libonnxruntime.so").write_bytes(b"\x7fELF\0libc++_shared.so\0")
    for name in ("libc++_shared.so", "libother.so"):
        (tmp_path / name).write_bytes(b"\x7fELF\0")
    assert [path.name for path in elf.libraries(tmp_path / "program")] == ["libc++_shared.so", "libonnxruntime.so"]


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        (124, "Iteration 1", "did not end within 60 s"),
        (139, "", "was ended on the phone by signal SIGSEGV"),
        (134, "Loading of method forward failed with status 0x21", "by signal SIGABRT"),
        (126, "timeout: exec: Permission denied", "does not let executor_runner run"),
        (1, 'CANNOT LINK EXECUTABLE: library "libonnxruntime.so" not found', "cannot start on the phone"),
        (1, "taskset: failed to set pid 5's affinity: Invalid argument", "run on those cores"),
        (127, "Hello", "executor_runner ended at once on the phone"),
        (3, "out of memory", "failed on the phone with code 3"),
    ],
)
def test_each_end_is_told_with_what_was_printed(code: int, text: str, said: str) -> None:
    error = phone_runner.failed("executor_runner", code, text, 60)
    assert error is not None
    assert said in error.what
    assert error.cause == (text or "it printed nothing")
    assert error.next_step
    assert phone_runner.failed("executor_runner", 0, text, 60) is None


LIST = "List of devices attached\n"
GOOD = "0A1B2C device usb:1-1 product:husky model:Pixel_8_Pro device:husky transport_id:1\n"


@pytest.mark.parametrize(
    ("listed", "serial", "said", "next_step"),
    [
        ("", "", "no phone is connected", "USB debugging"),
        (GOOD, "XYZ", "android:XYZ is not connected", "USB debugging"),
        (GOOD + GOOD.replace("0A", "FF"), "", "several phones are connected", "android:SERIAL"),
        ("0A1B2C unauthorized usb:1-1 transport_id:2\n", "", "android:0A1B2C refuses", "accept this computer's key"),
        ("0A1B2C offline usb:1-1 transport_id:2\n", "0A1B2C", "android:0A1B2C refuses", "plug it in again"),
        (
            "0A1B2C no permissions (missing udev rules? user is in the plugdev group); see [http://x] usb:1-1\n",
            "",
            "android:0A1B2C refuses",
            "udev",
        ),
    ],
)
def test_a_phone_that_cannot_be_used_says_why_and_what_to_do(
    listed: str, serial: str, said: str, next_step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Shims(tmp_path / "bin", monkeypatch).prints("adb", {"devices -l": LIST + listed})
    with pytest.raises(DeviceError) as caught:
        android.connect(f"android:{serial}", serial, Live())
    assert said in caught.value.what
    assert next_step in caught.value.next_step
    assert caught.value.exit_code == 4


def test_the_phones_that_adb_sees_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "* daemon not running; starting now at tcp:5037\n* daemon started successfully\n" + LIST + GOOD
    Shims(tmp_path / "bin", monkeypatch).prints("adb", {"devices -l": text + "12 unauthorized usb:1-2\n"})
    pixel, other = [found for found in connected() if found.name.startswith("android:")]
    assert (pixel.name, pixel.what, pixel.usable) == ("android:0A1B2C", "Pixel 8 Pro", True)
    assert (other.name, other.usable) == ("android:12", False)
    assert "accept this computer's key" in other.next_step


def test_without_adb_it_is_said_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb, "client", lambda: None)
    with pytest.raises(DeviceError, match="no adb is installed here") as caught:
        profile([RECORDED / "onnx"], device="android:X")
    assert "platform tools" in caught.value.next_step
    assert android.connected() == []


@pytest.fixture
def shimmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shims:
    """An adb whose phone has four cores, of two kinds."""
    shims = Shims(tmp_path / "bin", monkeypatch)
    told = "ro.product.cpu.abilist=arm64-v8a,armeabi-v7a\\nonline=0-3\\ncpu0=1800000\\ncpu1=1800000\\ncpu2=2850000\\ncpu3=\\n"
    shims.program(
        "adb",
        f'case "$*" in *getprop*) printf "{told}\\nedgekit-exit 0";; "devices -l") printf "{LIST}{GOOD}";;'
        ' *) printf "\\nedgekit-exit 0";; esac',
    )
    return shims


@pytest.mark.usefixtures("shimmed")
def test_one_thread_goes_to_the_fastest_core_and_what_is_not_there_is_refused() -> None:
    phone = android.connect("android", "", Live())
    assert phone.facts().cores == 4
    assert phone._cores(Settings()) == (2,)
    assert phone._cores(Settings(threads=2)) is None
    assert phone._cores(Settings(cores=(0, 1))) == (0, 1)
    with pytest.raises(UsageError, match="cannot measure with 5 threads"):
        phone.check(Settings(threads=5))
    with pytest.raises(UsageError, match="cannot measure on the cores 7"):
        phone.check(Settings(cores=(7,)))


@pytest.mark.usefixtures("shimmed")
def test_a_program_that_is_missing_or_built_for_another_abi_is_told_with_how_to_build_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(executor_runner.VARIABLE, raising=False)
    with pytest.raises(DeviceError, match="no executor_runner to run executorch models") as caught:
        profile([RECORDED / "executorch"], device="android")
    assert "EDGEKIT_EXECUTOR_RUNNER" in caught.value.next_step
    monkeypatch.setenv(executor_runner.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(DeviceError, match="there is no executor_runner at"):
        profile([RECORDED / "executorch"], device="android")
    program = tmp_path / "runner"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, 62))
    monkeypatch.setenv(executor_runner.VARIABLE, str(program))
    with pytest.raises(DeviceError, match="does not run on this phone") as caught:
        profile([RECORDED / "executorch"], device="android")
    assert caught.value.cause == "it is built for x86_64"
    assert "-DANDROID_ABI=arm64-v8a" in caught.value.next_step


@pytest.mark.usefixtures("shimmed")
def test_what_no_program_runs_is_refused(tmp_path: Path) -> None:
    bare = tmp_path / "model.tflite"
    bare.write_bytes(b"x")
    with pytest.raises(Unsupported, match="cannot be measured on a phone"):
        profile([bare], device="android")
    with pytest.raises(Unsupported, match="executor_runner cannot be told whether to spin"):
        profile([RECORDED / "executorch"], device="android", settings=Settings(spinning=True))


def test_a_wrong_replay_is_refused_as_on_any_device(edgekit: Command) -> None:
    device = f"replay:{RECORDED / 'executor_runner.jsonl'}"
    assert_error(edgekit("profile", RECORDED / "executorch", "--device", device, "--threads", 2), 2, "is of another session")
