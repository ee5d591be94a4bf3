"""A stage in a worker that crashes, hangs or swallows the memory becomes an error that says so, and no worker survives."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import wait_until_gone

from edgekit.errors import ConversionError, EdgekitError, Unsupported, UsageError
from edgekit.isolation import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as started:
        yield started


def _fails(worker: Worker, code: str, **limits: float) -> EdgekitError:
    with pytest.raises(EdgekitError) as caught:
        worker.call("builtins:exec", code, {}, stage="the stage", **limits)
    assert "the stage" in caught.value.what
    assert caught.value.next_step
    return caught.value


def test_a_worker_is_another_process_and_answers_call_after_call(worker: Worker) -> None:
    pids = {worker.call("os:getpid", stage="asking") for _ in range(3)}
    assert len(pids) == 1
    assert pids != {os.getpid()}
    assert worker.call("builtins:sorted", [3, 1, 2], stage="sorting") == [1, 2, 3]


def test_a_function_in_a_file_is_called_too(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    assert worker.call(f"{tmp_path / 'mine.py'}:double", 21, stage="the stage") == 42


def test_large_answers_and_arguments_arrive_whole(worker: Worker) -> None:
    assert worker.call("builtins:bytes", b"x" * 3_000_000, stage="copying") == b"x" * 3_000_000


def test_what_the_function_prints_stays_away(worker: Worker, capfd: pytest.CaptureFixture[str]) -> None:
    worker.call("builtins:print", "noise", stage="printing")
    assert capfd.readouterr() == ("", "")


def test_an_edgekit_error_crosses_as_it_is(worker: Worker) -> None:
    with pytest.raises(UsageError) as caught:
        worker.call("edgekit.targets:precision_of", "onnx", "fp16", stage="choosing")
    assert "target onnx does not compute in fp16" in caught.value.what
    assert caught.value.next_step


def test_any_other_exception_names_the_stage_and_the_cause(worker: Worker) -> None:
    error = _fails(worker, "raise ValueError('no such layer')")
    assert isinstance(error, ConversionError)
    assert error.what == "the stage failed"
    assert error.cause == "ValueError: no such layer"
    assert worker.call("builtins:len", "alive", stage="asking") == 5, "the worker goes on"


def test_of_wrapped_exceptions_the_first_is_told_without_colours(worker: Worker) -> None:
    code = """
try:
    raise KeyError('aten.svd')
except KeyError as error:
    raise RuntimeError('\\x1b[31mstep 3/3 failed, please report\\x1b[0m') from error
"""
    assert _fails(worker, code).cause == "KeyError: 'aten.svd'"
    assert _fails(worker, "raise RuntimeError('\\x1b[31mred\\x1b[0m')").cause == "RuntimeError: red"


def test_a_long_cause_is_cut(worker: Worker) -> None:
    assert len(_fails(worker, "raise ValueError('x' * 10_000)").cause) < 500


@pytest.mark.parametrize(("code", "how"), [("import os; os.abort()", "signal SIGABRT"), ("import os; os._exit(7)", "status 7")])
def test_a_crash_tells_how_it_ended_and_what_was_last_said(worker: Worker, code: str, how: str) -> None:
    error = _fails(worker, f"import sys; print('last words', file=sys.stderr, flush=True); {code}")
    assert isinstance(error, ConversionError)
    assert error.what.startswith("the stage crashed")
    assert how in error.what
    assert "last words" in error.cause


def test_a_worker_killed_from_outside_is_a_crash(worker: Worker) -> None:
    pid = worker.call("os:getpid", stage="asking")
    os.kill(pid, signal.SIGKILL)
    assert "signal SIGKILL" in _fails(worker, "pass").what
    assert "signal SIGKILL" in _fails(worker, "pass").what, "and stays one"


def test_a_hang_is_stopped_at_the_time_limit(worker: Worker) -> None:
    pid = worker.call("os:getpid", stage="asking")
    error = _fails(worker, "import time; print('thinking', flush=True); time.sleep(600)", time_limit_s=0.5)
    assert isinstance(error, ConversionError)
    assert "took longer than" in error.what
    assert "thinking" in error.cause
    wait_until_gone(pid)


def test_a_stage_that_takes_too_much_memory_is_stopped(worker: Worker) -> None:
    pid = worker.call("os:getpid", stage="asking")
    error = _fails(
        worker, "import time; x = bytearray(300 << 20); time.sleep(600)", memory_limit_bytes=200 << 20, time_limit_s=60
    )
    assert isinstance(error, Unsupported)
    assert error.exit_code == 4
    assert "memory" in error.what
    assert "0.2 GiB" in error.what
    wait_until_gone(pid)


def test_a_full_disk_is_told_as_such(worker: Worker) -> None:
    error = _fails(worker, f"raise OSError({errno.ENOSPC}, '{os.strerror(errno.ENOSPC)}')")
    assert isinstance(error, Unsupported)
    assert "disk space" in error.what
    assert "TMPDIR" in error.next_step


def test_a_package_that_does_not_import_is_named_with_the_way_to_get_it() -> None:
    with Worker(preload=("os", "edgekit_has_no_such_package")) as worker, pytest.raises(Unsupported) as caught:
        worker.call("os:getpid", stage="the stage")
    assert "edgekit_has_no_such_package" in caught.value.what
    assert "ModuleNotFoundError" in caught.value.cause
    assert "pip install" in caught.value.next_step


def test_files_in_the_current_folder_are_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = tmp_path / "witness"
    for name in ("psutil", "json", "fractions"):
        (tmp_path / f"{name}.py").write_text(f"open({str(witness)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    with Worker(preload=("json", "fractions")) as worker:
        assert worker.call("json:dumps", [1], stage="writing") == "[1]"
    assert not witness.exists()


def test_no_worker_outlives_its_block() -> None:
    pids = []

    def fail_in_the_block() -> None:
        with Worker() as worker:
            pids.append(worker.call("os:getpid", stage="asking"))
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail_in_the_block()
    wait_until_gone(*pids)


_HOLDER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs in the background without it
from edgekit.isolation import Worker
with Worker() as worker:
    print(worker.call("os:getpid", stage="asking"), flush=True)
    worker.call("time:sleep", 600, stage="sleeping")
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_busy_worker_ends_with_its_caller_however_that_ends(ending: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        caller.send_signal(ending)
    wait_until_gone(pid)
