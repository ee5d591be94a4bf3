"""The measuring process, for real: its protocol, and every way it can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ArtifactError, EdgekitError, Unsupported
from edgekit.profiling import machine, process
from edgekit.profiling.process import Worker


def test_a_subject_is_opened_warmed_up_timed_and_weighed(tiny_onnx: Path) -> None:
    core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    with Worker("tiny", threads=1) as worker:
        opened = worker.ask("open", subject=str(tiny_onnx), threads=1, cores=None if core is None else [core])
        assert opened["runtime"].startswith("onnxruntime ")
        assert opened["io_bytes"] == 2 * 64 * 4
        assert opened["macs"] is None
        assert opened["load_s"] > 0
        assert opened["load_was_cold"] is False
        assert opened["input_shapes"] == {"x": [1, 64]}
        if core is not None:
            assert psutil.Process(worker.pid).cpu_affinity() == [core]
        if sys.platform == "linux":
            assert psutil.Process(worker.pid).environ()["OMP_NUM_THREADS"] == "1"
        warm_up = worker.ask("warm_up")
        assert warm_up["runs"] >= 9
        block = worker.ask("block", duration_s=0.01)
        latency_s = block["latency_s"]
        assert 1 <= len(latency_s) <= 250
        assert all(seconds > 0 for seconds in latency_s)
        assert block["waited_share"] is None or block["waited_share"] >= 0
        memory = worker.ask("finish")
        assert memory["process_peak_bytes"] > memory["run_peak_bytes"]
        assert memory["gpu_peak_bytes"] is None
        pid = worker.pid
    assert not psutil.pid_exists(pid)


def test_peak_memory_is_the_workers_own_although_its_parent_is_larger(tiny_onnx: Path) -> None:
    ballast = np.ones(80_000_000)  # 640 MB, resident
    with Worker("tiny", threads=1) as worker:
        worker.ask("open", subject=str(tiny_onnx), threads=1)
        assert worker.ask("finish")["process_peak_bytes"] < ballast.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not let a peak start anew")
def test_the_memory_of_the_run_is_neither_the_libraries_nor_what_was_there_before(tmp_path: Path) -> None:
    weight = np.ones((1024, 4096), np.float32)  # 16 MB
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "heavy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1024])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4096])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "heavy.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    with Worker("heavy", threads=1) as worker:
        worker.ask("open", subject=str(path), threads=1)
        memory = worker.ask("finish")
    assert weight.nbytes < memory["run_peak_bytes"] < 8 * weight.nbytes  # the file, the model, what is packed for speed
    assert memory["run_peak_bytes"] < memory["process_peak_bytes"]


def test_a_cold_load_reads_from_the_disk(tiny_onnx: Path) -> None:
    with Worker("tiny", threads=1) as worker:
        opened = worker.ask("open", subject=str(tiny_onnx), threads=1, cold=True)
    # A file system in memory has nothing to read from.
    assert opened["load_was_cold"] is machine.forget_files([tiny_onnx])


def test_it_runs_for_as_long_as_it_is_told_and_counts(tiny_onnx: Path) -> None:
    with Worker("tiny", threads=1) as worker:
        worker.ask("open", subject=str(tiny_onnx), threads=1, spinning=False)
        started = time.monotonic()
        assert worker.ask("run_for", duration_s=0.2) > 1
        assert time.monotonic() - started >= 0.2
        started = time.monotonic()
        worker.ask("block", duration_s=0.5, whole=True)
        assert time.monotonic() - started >= 0.5, "also when its 250 samples are there long before"


def test_an_error_comes_back_as_what_it_was(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with Worker("broken", threads=1) as worker, pytest.raises(ArtifactError) as caught:
        worker.ask("open", subject=str(broken), threads=1)
    assert caught.value.what == f"ONNX Runtime cannot load {broken}"
    assert caught.value.cause
    assert caught.value.next_step


def test_a_dynamic_input_shape_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "dynamic",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])],
    )
    path = tmp_path / "dynamic.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    with Worker("dynamic", threads=1) as worker, pytest.raises(Unsupported) as caught:
        worker.ask("open", subject=str(path), threads=1)
    assert "'x' is a tensor(float) of shape ['rows', 3]" in caught.value.what


def test_a_model_that_fails_when_run_is_named_with_the_runtimes_last_words(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "out_of_bounds",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [64])],
        [numpy_helper.from_array(np.zeros(1, np.float32), "table")],
    )
    path = tmp_path / "out_of_bounds.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    with Worker("out_of_bounds.onnx", threads=1) as worker, pytest.raises(EdgekitError) as caught:
        worker.ask("open", subject=str(path), threads=1)
    assert caught.value.what == "measuring out_of_bounds.onnx failed"
    assert "exited with status 1" in caught.value.cause
    assert "indices element out of data bounds" in caught.value.cause
    assert "edgekit verify" in caught.value.next_step


def _instead(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(process, "_COMMAND", (sys.executable, "-c", program))


def test_a_crash_names_the_subject_the_signal_and_the_end_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    _instead(
        monkeypatch,
        "import os, signal, sys; sys.stdin.readline(); os.write(2, b'kernel panics\\n'); os.kill(os.getpid(), 11)",
    )
    with Worker("net.pte", threads=1) as worker, pytest.raises(EdgekitError) as caught:
        worker.ask("warm_up")
    assert caught.value.what == "measuring net.pte failed"
    assert caught.value.cause == "its process was ended by SIGSEGV; the end of its log:\nkernel panics"


def test_a_killed_process_points_to_memory(tiny_onnx: Path) -> None:
    with Worker("tiny", threads=1) as worker:
        worker.ask("open", subject=str(tiny_onnx), threads=1)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(EdgekitError) as caught:
            worker.ask("block", duration_s=0.01)
    assert "SIGKILL" in caught.value.cause
    assert "memory" in caught.value.next_step


def test_a_silent_process_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    _instead(monkeypatch, "import time; time.sleep(600)")
    monkeypatch.setattr(process, "_SILENCE_LIMIT_S", 0.2)
    with Worker("net.pte", threads=1) as worker, pytest.raises(EdgekitError, match=r"measuring net\.pte hangs"):
        worker.ask("open")


def test_library_noise_never_reaches_the_answers() -> None:
    program = """if True:
        import os
        from edgekit.profiling import worker
        requests, answers = worker._take_over_streams()
        print("python noise", flush=True)
        os.system("echo c noise; cat")
        answers.write(requests.readline())
        answers.flush()
    """
    result = subprocess.run([sys.executable, "-c", program], input="the request\n", capture_output=True, text=True, check=True)
    assert result.stdout == "the request\n"
    assert "python noise" in result.stderr
    assert "c noise" in result.stderr


def test_the_worker_ends_in_the_middle_of_a_run_when_its_parent_is_killed() -> None:
    endless = "import time; from edgekit.profiling import worker; "
    endless += "worker._Host.warm_up = lambda host: time.sleep(600); worker.main()"
    program = f"""if True:
        import sys
        from edgekit.profiling import machine, process
        process._COMMAND = (sys.executable, "-c", {endless!r})
        worker = process.Worker("endless", threads=1)
        print(worker.pid, flush=True)
        worker.ask("warm_up")
    """
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while _lives(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(child)


def _lives(child: psutil.Process) -> bool:
    try:
        return child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_request_that_a_dead_process_never_read_is_a_crash_too(monkeypatch: pytest.MonkeyPatch) -> None:
    _instead(monkeypatch, "import sys; sys.exit('no such library')")
    with Worker("net.pte", threads=1) as worker:
        while psutil.Process(worker.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        with pytest.raises(EdgekitError) as caught:
            worker.ask("open")
    assert caught.value.cause == "its process exited with status 1; the end of its log:\nno such library"
