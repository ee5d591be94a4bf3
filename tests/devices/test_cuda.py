"""GPUs of this machine. Nothing here computes on one: what `nvidia-smi` prints is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Command, assert_error

from edgekit import runtimes
from edgekit.devices import cuda
from edgekit.devices.link.tape import Live
from edgekit.errors import Unsupported, UsageError
from edgekit.profiling import Settings
from edgekit.profiling.subject import describe
from edgekit.runtimes.onnxruntime import OnnxRuntimeSession

# As `nvidia-smi --query-gpu=index,name,driver_version,uuid --format=csv,noheader` prints it on a machine with two.
_TWO = (
    "0, NVIDIA H200, 560.35.03, GPU-3a1c7f52-9d0e-4b8a-8f61-0c5e2d7b9a14\n"
    "1, NVIDIA GeForce RTX 4090, 550.54.14, GPU-3a70e8d1-52b4-4c19-a3f7-6e8b1d20c5f9\n"
)


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\ncat <<END\n{_TWO}END\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(
        "#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'\nexit 9\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_each_gpu_is_found_and_names_itself(two_gpus: None) -> None:
    assert [(one.name, one.what) for one in cuda.connected()] == [
        ("cuda:0", "NVIDIA H200, driver 560.35.03"),
        ("cuda:1", "NVIDIA GeForce RTX 4090, driver 550.54.14"),
    ]
    second = cuda.connect("cuda:1", "1", Live())
    facts = second.facts()
    assert second.gpu_index == 1, "its energy is read off the GPU that computes"
    assert (facts.hardware, facts.gpu) == ("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090, driver 550.54.14")
    assert cuda.connect("cuda", "", Live()).facts().hardware == "NVIDIA H200"


def test_a_gpu_that_is_not_there_is_refused(two_gpus: None) -> None:
    with pytest.raises(Unsupported, match="no NVIDIA GPU 2") as caught:
        cuda.connect("cuda:2", "2", Live())
    assert caught.value.cause == "nvidia-smi lists 0 (NVIDIA H200), 1 (NVIDIA GeForce RTX 4090)"
    with pytest.raises(UsageError, match="cuda:first names no GPU"):
        cuda.connect("cuda:first", "first", Live())


@pytest.mark.parametrize(
    ("told", "indices"),
    [
        (None, [0, 1]),
        ("1", [1]),
        ("1,0", [1, 0]),
        (" 1 , 0 ", [1, 0]),
        ("", []),
        ("1,-1,0", [1]),
        ("-1", []),
        ("7,0", []),
        ("0,7,1", [0]),
        ("0,0", []),
        ("NoDevFiles", []),
        ("GPU-3a70e8d1-52b4-4c19-a3f7-6e8b1d20c5f9", [1]),
        ("GPU-3a7,GPU-3a1", [1, 0]),
        ("GPU-3a", []),
        ("GPU-ffffffff", []),
        ("MIG-3a70e8d1-52b4-4c19-a3f7-6e8b1d20c5f9", []),
    ],
)
def test_cuda_counts_those_that_its_variable_leaves(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch, told: str | None, indices: list[int]
) -> None:
    if told is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert [one.name for one in cuda.connected()] == [f"cuda:{place}" for place in range(len(indices))]
    assert [cuda.connect("cuda", str(place), Live()).gpu_index for place in range(len(indices))] == indices
    with pytest.raises(Unsupported) as caught:
        cuda.connect("cuda", str(len(indices)), Live())
    assert (f"CUDA_VISIBLE_DEVICES={told} leaves " in caught.value.cause) == (told is not None)


def test_a_renumbered_gpu_is_run_by_its_new_number(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch, tiny_artifact: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    asked: list[dict[str, object]] = []

    class Asked:
        def __init__(self, subject: str, *, threads: int) -> None:
            pass

        def ask(self, command: str, **arguments: object) -> dict[str, object]:
            asked.append(arguments)
            return {"runtime": "none", "inputs": "", "io_bytes": 0, "input_shapes": {}}

    monkeypatch.setattr(cuda, "Worker", Asked)
    device = cuda.connect("cuda", "", Live())
    device.start(describe(tiny_artifact), Settings(), cold=False)
    assert (asked[0]["gpu"], device.gpu_index, device.facts().hardware) == (0, 1, "NVIDIA GeForce RTX 4090")


def test_a_machine_without_a_gpu_says_so(no_gpu: None, edgekit: Command) -> None:
    assert cuda.connected() == []
    assert_error(edgekit("profile", "lsnet_t", "--device", "cuda"), 4, "no NVIDIA GPU 0", "nvidia-smi lists none", "host")


def test_runtimes_refuse_a_gpu_they_do_not_have(tiny_artifact: Path) -> None:
    import onnxruntime
    import torch

    if not torch.cuda.is_available():
        with runtimes.open("lsnet_t") as session, pytest.raises(Unsupported, match="PyTorch finds no GPU") as caught:
            session.use_gpu(0)
        assert torch.__version__ in caught.value.cause
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with OnnxRuntimeSession(tiny_artifact / "model.onnx", None, None) as session:
            with pytest.raises(Unsupported, match="ONNX Runtime finds no GPU") as caught:
                session.use_gpu(0)
            assert "onnxruntime-gpu" in caught.value.next_step
            assert session.inputs, "it still runs on the processor"
