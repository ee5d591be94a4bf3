"""Boards over ssh: against a real OpenSSH server on loopback, with a Python there that has numpy and the runtime alone."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import sshd
from commands import Command, assert_error

from edgekit import artifact, parity, reference_inputs
from edgekit.devices import ssh
from edgekit.devices.link import remote_worker
from edgekit.devices.link.openssh import SshShell
from edgekit.devices.link.tape import Live
from edgekit.errors import ArtifactError, DeviceError, EdgekitError, Interrupted, Unsupported, UsageError
from edgekit.profiling import Settings, process, profile
from edgekit.profiling.measurement import OperatorProfile
from edgekit.profiling.subject import describe

_QUICK = Settings(duration_s=0.1)


def _program(folder: Path, script: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def _device(name: str) -> ssh.SshDevice:
    return ssh.connect(name, name.partition(":")[2], Live())


# What is measured


def test_an_artifact_is_measured_and_proved_where_nothing_of_edgekit_is(
    board: sshd.Server, bare: Path, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = tmp_path / "session.jsonl"
    name = f"{board.device}{bare}"
    [measured] = profile([tiny_artifact], device=name, settings=_QUICK, record=recording)
    assert measured.fingerprint.device == name
    assert measured.fingerprint.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert measured.fingerprint.cores == len(os.sched_getaffinity(0))
    assert measured.runs >= 10
    assert measured.parity is not None
    assert measured.parity.passed
    assert measured.parity.sqnr_db > 60
    assert measured.floor.floor_s is not None
    assert measured.memory.run_peak_bytes
    assert measured.interrupted is None

    def connect(*_: object) -> str:
        raise AssertionError("the board was asked")

    monkeypatch.setattr(SshShell, "_connect", connect)
    [again] = profile([tiny_artifact], device=f"replay:{recording}", settings=_QUICK)
    assert again.provenance == "replayed"
    assert dataclasses.replace(again, provenance="measured", source=None, job=measured.job) == measured


def test_weights_beside_a_bare_file_are_sent_with_it(
    board: sshd.Server, bare: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    model = tmp_path / "split.onnx"
    options = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 256}
    onnx.save(onnx.load(tiny_artifact / "model.onnx"), model, **options)
    subject = describe(model)
    assert (subject.model.size_bytes or 0) > (tmp_path / "w.bin").stat().st_size
    with _device(f"{board.device}{bare}") as device, device.start(subject, Settings(), cold=False) as trial:
        assert trial.block(0.05).latency_s


def test_a_board_s_own_alias_and_the_environment_it_keeps_apart(board: sshd.Server, bare: Path, tiny_artifact: Path) -> None:
    subject = describe(tiny_artifact / "model.onnx")
    with _device(f"ssh:board{bare}") as device, device.start(subject, Settings(), cold=False) as trial:
        [runner] = [one for one in board.sessions() if one.name().startswith("python")]
        environment = runner.environ()
        assert trial.opened.parity is None, "a bare file has no reference"
        assert trial.opened.threads == 1
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert "PYTHONPATH" not in environment


def test_a_python_below_the_home_directory() -> None:
    assert _device("ssh:pi@board/~/venv/bin/python")._python == "venv/bin/python"
    assert _device("ssh:pi@board")._python == "python3"


def test_what_a_board_cannot_open_is_refused_before_anything_is_sent(board: sshd.Server) -> None:
    with _device(board.device) as device, pytest.raises(Unsupported, match="lsnet_t cannot be measured on ssh:") as caught:
        device.start(describe("lsnet_t"), Settings(), cold=False)
    assert ".onnx and .pte" in caught.value.cause
    assert not board.sessions()


def test_a_file_that_is_not_here(board: sshd.Server) -> None:
    with _device(board.device) as device, pytest.raises(UsageError, match=r"there is no file nowhere\.onnx"):
        device.start(describe("nowhere.onnx"), Settings(), cold=False)


def test_an_error_from_there_names_the_file_here(board: sshd.Server, bare: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with _device(f"{board.device}{bare}") as device, pytest.raises(ArtifactError) as caught:
        device.start(describe(broken), Settings(), cold=False)
    assert caught.value.what == f"ONNX Runtime cannot load {broken}"


def test_more_threads_than_the_board_has_are_refused(board: sshd.Server, bare: Path) -> None:
    with _device(f"{board.device}{bare}") as device, pytest.raises(UsageError) as caught:
        device.check(Settings(threads=999))
    assert caught.value.cause.startswith(f"{device.name} lets edgekit use ")


@pytest.mark.parametrize("names", [True, False], ids=["named", "nameless"])
def test_operators_of_an_onnx_model_are_those_of_the_host(
    board: sshd.Server, bare: Path, tiny_artifact: Path, tmp_path: Path, names: bool
) -> None:
    model = onnx.load(tiny_artifact / "model.onnx")
    for node in model.graph.node:
        node.name = node.name if names else ""
    onnx.save(model, tmp_path / "model.onnx")
    quick = Settings(duration_s=0.1, operators=True)
    name, recording = f"{board.device}{bare}", tmp_path / "session.jsonl"
    [there] = profile([tmp_path / "model.onnx"], device=name, settings=quick, record=recording)
    [here] = profile([tmp_path / "model.onnx"], settings=quick)
    assert there.operators is not None
    assert here.operators is not None
    assert there.operators.runs > 1
    assert all(operator.time_s >= 0 for operator in there.operators.operators)
    told, expected = (
        [dataclasses.replace(operator, time_s=0.0, floor_s=None) for operator in measured.operators.operators]
        for measured in (there, here)
    )
    assert told == expected
    [again] = profile([tmp_path / "model.onnx"], device=f"replay:{recording}", settings=quick)
    assert again.operators == there.operators


def test_operators_of_an_executorch_model_are_not_told(board: sshd.Server, tmp_path: Path) -> None:
    (tmp_path / "model.pte").write_bytes(b"any")
    opened = '{"answer": {"runtime": "executorch 1", "inputs": "", "io_bytes": 0, "input_shapes": {}}}'
    python = _program(tmp_path, f"read line; echo '{opened}'; cat >/dev/null")
    subject, settings = describe(tmp_path / "model.pte"), Settings(cores=(0,))
    with _device(f"{board.device}{python}") as device, device.start(subject, settings, cold=False) as trial:
        assert trial.operators() == OperatorProfile(
            reason=f"of {device.name} edgekit reads ONNX Runtime's traces alone: profile the model's ONNX artifact"
        )


def test_outputs_of_another_model_do_not_pass(tiny_artifact: Path) -> None:
    loaded = artifact.load(tiny_artifact)
    _, expected = reference_inputs.read(tiny_artifact / artifact.REFERENCE)
    right = parity.of_outputs(loaded, "a runtime", expected)
    assert (right.passed, right.bound_sqnr_db) == (True, loaded.manifest.recipe.conversion_sqnr_db)
    noisy = [{name: array * np.float32(1.01) for name, array in outputs.items()} for outputs in expected]
    wrong = parity.of_outputs(loaded, "a runtime", noisy)
    assert wrong.passed is False
    assert wrong.sqnr_db == pytest.approx(40, abs=0.1)


# Everything that can go wrong


def test_no_python_there(board: sshd.Server) -> None:
    error = sshd.failure(f"{board.device}/opt/none/bin/python")
    assert error.what.endswith("cannot run edgekit's runner with /opt/none/bin/python")
    assert "No such file or directory" in error.cause
    assert "apt install python3" in error.next_step


def test_a_python_for_another_architecture(board: sshd.Server, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00" + bytes(100))  # RISC-V's
    python.chmod(0o755)
    error = sshd.failure(f"{board.device}{python}")
    assert error.what.endswith(f"cannot run edgekit's runner with {python}")
    assert "after the address" in error.next_step


@pytest.mark.parametrize(("packages", "missing"), [((), "numpy"), (("numpy",), "onnxruntime")])
def test_a_package_that_is_missing_there(
    packages: tuple[str, ...], missing: str, board: sshd.Server, pythons: Callable[..., Path], tiny_artifact: Path
) -> None:
    python = pythons(*packages)
    with _device(f"{board.device}{python}") as device, pytest.raises(DeviceError) as caught:
        device.start(describe(tiny_artifact), Settings(), cold=False)
    assert caught.value.what == f"{device.name} has no {missing}"
    assert f"{python} -m pip install {missing}" in caught.value.next_step


@pytest.mark.parametrize(
    ("script", "cause", "next_step"),
    [
        ("echo lost >&2; kill -KILL $$", "its process was ended by SIGKILL; the end of its log:\nlost", "memory"),
        ("kill -ILL $$", "its process was ended by SIGILL", "built for another processor"),
        ("echo broken >&2; exit 9", "its process exited with status 9; the end of its log:\nbroken", "on the host too"),
        ("echo hello; cat >/dev/null", "wrote b'hello\\n' where an answer was due", "standard output"),
        ("sleep 600", "gave no answer to 'machine' for 1 s", "thread count"),
    ],
)
def test_a_runner_that_crashes_chatters_or_hangs(
    script: str, cause: str, next_step: str, board: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_SILENCE_LIMIT_S", 1.0)
    error = sshd.failure(f"{board.device}{_program(tmp_path, script)}")
    assert cause in error.cause
    assert next_step in error.next_step
    sshd.until(lambda: not board.sessions())


def test_a_board_too_busy_to_start_anything(board: sshd.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_worker, "_START_LIMIT_S", 0.0)
    error = sshd.failure(board.device)
    assert error.what == f"{board.device} does not answer"
    sshd.until(lambda: not board.sessions())


def test_a_runner_that_is_killed_loses_no_sample(board: sshd.Server, bare: Path, tiny_artifact: Path) -> None:
    def progress(done: int, total: int) -> None:
        if done == 4:
            [runner] = [one for one in board.sessions() if one.name().startswith("python")]
            runner.send_signal(signal.SIGKILL)

    _assert_interrupted("SIGKILL", f"{board.device}{bare}", tiny_artifact, progress)


def test_a_board_that_disappears_loses_no_sample(board: sshd.Server, bare: Path, tiny_artifact: Path) -> None:
    def progress(done: int, total: int) -> None:
        if done == 4:
            board.hang_up()

    error = _assert_interrupted("", f"{board.device}{bare}", tiny_artifact, progress)
    assert error.what == f"the connection to {board.device}{bare} was lost"
    assert "power supply" in error.next_step
    sshd.until(lambda: not board.sessions())


def _assert_interrupted(cause: str, device: str, subject: Path, progress: Callable[[int, int], Any]) -> EdgekitError:
    with pytest.raises(Interrupted) as caught:
        profile([subject], device=device, settings=_QUICK, progress=progress)
    [partial] = caught.value.partial
    assert caught.value.exit_code == 4
    assert cause in caught.value.cause
    assert partial.runs > 0
    assert partial.interrupted == caught.value.what
    return caught.value


def test_the_command_says_what_happened_and_what_to_do(board: sshd.Server, tiny_artifact: Path, edgekit: Command) -> None:
    board.known_hosts.write_text("")
    assert_error(edgekit("profile", tiny_artifact, "--device", board.device), 4, "not known yet", "by hand: ssh -p")


# Addresses


@pytest.mark.parametrize(
    ("address", "host", "port", "python"),
    [
        ("board", "board", None, "python3"),
        ("pi@10.0.0.7:2222", "pi@10.0.0.7", 2222, "python3"),
        ("pi@[fe80::1]:22", "pi@fe80::1", 22, "python3"),
        ("board/usr/bin/python3.12", "board", None, "/usr/bin/python3.12"),
        ("pi@board:2222/~/my venv/bin/python", "pi@board", 2222, "my venv/bin/python"),
    ],
)
def test_an_address_is_taken_apart(address: str, host: str, port: int | None, python: str) -> None:
    device = _device(f"ssh:{address}")
    assert (device._ssh._host, device._ssh._port, device._python) == (host, port, python)


@pytest.mark.parametrize("address", ["", "-oProxyCommand=touch x", "pi@", "a b", "board:ssh", "@board", "-l@board"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of a board") as caught:
        _device(f"ssh:{address}")
    assert "ssh:USER@HOST" in caught.value.next_step


def test_nothing_is_listed_that_was_not_asked() -> None:
    assert ssh.connected() == []
