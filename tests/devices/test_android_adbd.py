"""A phone's own adb daemon behind the real adb client: what is measured, and each way in which it fails.

The program there is `runner.c`, which fails on demand; sessions of the real `executor_runner` are replayed in test_android.py.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import adbd
import pytest

from edgekit.devices import android
from edgekit.devices.link import executor_runner, onnxruntime_perf_test, phone_program
from edgekit.devices.link.tape import Live
from edgekit.errors import DeviceError, Interrupted
from edgekit.profiling import Measurement, Settings, profile

RECORDED = Path(__file__).parents[1] / "recordings" / "android"
DEVICE = f"android:{adbd.SERIAL}"
WHY_NOT = adbd.why_not() or (None if shutil.which("cc") else "no C compiler to build the phone's program with")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """`runner.c` as both programs."""
    folder = tmp_path_factory.mktemp("programs")
    with pytest.MonkeyPatch.context() as patch:
        for kind in (executor_runner, onnxruntime_perf_test):
            subprocess.run(["cc", "-O1", "-o", folder / kind.NAME, Path(__file__).with_name("runner.c")], check=True)
            patch.setenv(kind.VARIABLE, str(folder / kind.NAME))
        yield


@pytest.fixture(scope="module")
def running(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[adbd.Phone]:
    with adbd.phone(tmp_path_factory.mktemp("phone")) as started:
        follow = "exec 3< /data/local/tmp/log; while cat <&3; do sleep 0.1; done"
        started.program("logcat", f'case "$*" in "-v raw -T "*" -s ExecuTorch:V") {follow};; esac')
        yield started


@pytest.fixture
def phone(running: adbd.Phone) -> adbd.Phone:
    """The same phone for all tests that leave it as it was."""
    running.adb("shell", "rm -rf /data/local/tmp/*; touch /data/local/tmp/log")
    return running


def _measure(target: str = "executorch", **settings: object) -> Measurement:
    [measured] = profile([RECORDED / target], device=DEVICE, settings=Settings(**{"duration_s": 0.5, **settings}))  # type: ignore[arg-type]  # by name
    return measured


def test_blocks_of_fresh_processes_on_the_core_asked_for_and_nothing_is_left(phone: adbd.Phone) -> None:
    measured = _measure(cores=(1,))
    assert len(measured.processes) == 5
    for process in measured.processes:
        assert process.cores == (1,)
        assert min(process.latency_s) >= 0.002
        assert process.warmup_s is not None
        assert process.warmup_s > 0.5
        assert process.load_s == 0.0015
        assert process.memory.process_peak_bytes
    assert measured.fingerprint.hardware == "Example Phone 1"
    assert measured.fingerprint.cores == len(android.connect(DEVICE, adbd.SERIAL, Live())._clocks)
    assert measured.conditions.before is not None
    assert measured.conditions.before.load_1min is not None
    # The stand-in gives ones: that the phone computes something else is told, not hidden.
    assert measured.parity is not None
    assert not measured.parity.passed
    assert phone.adb("shell", "ls /data/local/tmp") == "log\n"


@pytest.mark.usefixtures("phone")
def test_onnx_models_are_measured_without_their_outputs() -> None:
    measured = _measure("onnx", spinning=False, mode="sustained")
    [process] = measured.processes
    assert (measured.parity, measured.conditions.spinning) == (None, False)
    assert (process.load_s, process.first_run_s) == (0.00215, 0.002)
    assert len(process.latency_s) > 100


def test_a_program_that_logs_to_logcat_is_read_from_there(phone: adbd.Phone) -> None:
    phone.adb("shell", "echo log > /data/local/tmp/fault")
    measured = _measure()
    assert len(measured.processes) == 5


def test_the_phones_there_are_are_listed(phone: adbd.Phone) -> None:
    assert [found.name for found in android.connected()] == [DEVICE]
    assert android.connect("android", "", Live()).name == DEVICE


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("crash 5", "executor_runner was ended on the phone by signal SIGSEGV"),
        ("exit 5", "executor_runner failed on the phone with code 3"),
        ("hang 5", "executor_runner did not end within 1 s on the phone"),
        ("garbage", "executor_runner printed what edgekit cannot read"),
    ],
)
def test_a_program_that_fails_at_once(fault: str, said: str, phone: adbd.Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone_program, "_LEAST_LIMIT_S", 1)
    phone.adb("shell", f"echo {fault} > /data/local/tmp/fault")
    with pytest.raises(DeviceError) as caught:
        _measure()
    assert caught.value.what == said
    assert caught.value.cause
    assert caught.value.next_step


def test_a_program_that_crashes_in_a_block_keeps_the_runs_until_then(phone: adbd.Phone) -> None:
    phone.adb("shell", "echo crash 600 > /data/local/tmp/fault")
    with pytest.raises(Interrupted, match="was ended on the phone by signal SIGSEGV") as caught:
        _measure()
    [partial] = caught.value.partial
    [process] = partial.processes
    # It reached run 599: the first is told apart, and those of the warm-up are dropped.
    assert process.warmup_runs is not None
    assert len(process.latency_s) == 598 - process.warmup_runs
    assert caught.value.exit_code == 4


def test_a_phone_that_is_unplugged_keeps_the_runs_until_then(programs: None, tmp_path: Path) -> None:
    long = Settings(duration_s=30.0, mode="sustained")
    with adbd.phone(tmp_path) as phone:
        unplug = threading.Timer(3.0, phone.unplug)

        def progress(done: int, total: int) -> None:
            if done == 1:  # its block comes next, of 30 s
                unplug.start()

        with pytest.raises(Interrupted, match="was lost") as caught:
            profile([RECORDED / "executorch"], device=DEVICE, settings=long, progress=progress)
    [partial] = caught.value.partial
    assert partial.runs > 50
    assert "it is offline" in caught.value.cause or "no longer connected" in caught.value.cause
    assert caught.value.exit_code == 4


def test_a_full_phone(programs: None, tmp_path: Path) -> None:
    with adbd.phone(tmp_path, data="size=8k,mode=777"), pytest.raises(DeviceError, match="did not take") as caught:
        _measure()
    assert "No space left" in caught.value.cause
    assert "free some space" in caught.value.next_step


def test_a_phone_that_runs_no_programs_there(programs: None, tmp_path: Path) -> None:
    with adbd.phone(tmp_path, data="noexec,mode=777"), pytest.raises(DeviceError, match="does not let") as caught:
        _measure()
    assert "Permission denied" in caught.value.cause
    assert "SELinux" in caught.value.next_step
