"""The command line as a process of its own: streams, exit codes, imports, and what it leaves behind when it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Command, Done, assert_error, export_tiny, process, wait_until_gone

from edgekit import api, artifact, cache, profiles, scratch, sources
from edgekit.recipe import Recipe

pytestmark = pytest.mark.slow


def test_a_process_gives_the_same_codes_and_streams(tmp_path: Path) -> None:
    assert_error(process("export", "lsnet_t", "--target", "onx", cwd=tmp_path), 2, "unknown target 'onx'")
    told = process("verify", "nowhere", "--json", cwd=tmp_path)
    assert (told.code, told.err, told.json["error"]) == (2, "", "ArtifactError")


def test_a_cached_export_imports_no_torch(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    recipe = Recipe(model="lsnet_t", target="onnx", precision="fp32")
    cache.keep(tiny_artifact, cache.key(recipe, profiles.load("host"), "seeded"))  # stands for LSNet's own
    sources.canonical("lsnet")  # as the export that was kept did
    code = (
        f"import sys; sys.argv = ['edgekit', 'export', 'lsnet', '--target', 'onnx', '--output', {str(tmp_path / 'out')!r}]\n"
        "from edgekit.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cached" in done.stdout
    assert done.stdout.endswith("\n0 False\n")
    artifact.load(tmp_path / "out" / "lsnet_t-onnx")


def test_closed_standard_streams_are_no_reason_to_fail(tmp_path: Path) -> None:
    for closing in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        code = f'"$0" -m edgekit.cli export lsnet_t --target onx {closing}; echo $? > code'
        subprocess.run(["sh", "-c", code, sys.executable], cwd=tmp_path, check=True, capture_output=True)
        assert (tmp_path / "code").read_text() == "2\n", closing


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_standard_output_is_told() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgekit.cli", "devices"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the result cannot be written\ncause: No space left on device")


def test_lsnet_goes_from_its_name_to_a_prediction(edgekit: Command, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (300, 200), (200, 120, 40)).save(tmp_path / "photo.jpg")
    request = ["export", "lsnet", "--target", "onnx", "--input-size", "96", "--output", tmp_path]
    done = edgekit(*request)
    assert (done.code, done.err) == (0, "")
    assert "latencies are real, predictions are not" in done.out
    directory = tmp_path / "lsnet_t-onnx"
    made = artifact.load(directory).manifest
    assert (made.model.name, made.recipe.model, made.model.weights) == ("lsnet_t", "lsnet_t", "seeded")
    assert edgekit("verify", directory).code == 0

    done = edgekit("predict", directory, tmp_path / "photo.jpg")
    assert done.code == 0
    assert len(done.out.splitlines()) == 7, "a header, five classes, and that the weights are not real"
    told = edgekit("predict", directory, tmp_path / "photo.jpg", "--json").json
    assert told["weights_are_real"] is False
    assert [top["probability"] for top in told["top"]] == sorted((t["probability"] for t in told["top"]), reverse=True)

    assert edgekit(*request, "--force").out.splitlines()[1].endswith("cached")


def test_lsnet_is_exported_with_a_checkpoint_and_refuses_another_s(edgekit: Command, tmp_path: Path) -> None:
    import torch

    from edgekit import models

    def export(variant: str, *more: object) -> Done:
        return edgekit("export", variant, "-t", "onnx", "--input-size", "96", "-o", tmp_path, *more)

    state = api.load_model("lsnet_t", input_size=96).state_dict()
    state["head.l.bias"] += 1
    torch.save({"model": state}, tmp_path / "mine.pth")
    done = export("lsnet_t", "--weights", tmp_path / "mine.pth")
    assert done.code == 0
    assert "predictions are not" not in done.out
    assert artifact.load(tmp_path / "lsnet_t-onnx").manifest.model.weights == "mine.pth"

    torch.save(models.build(models.find("lsnet_s").at_size(96)).state_dict(), tmp_path / "s.pth")
    refused = export("lsnet_t", "--weights", tmp_path / "s.pth", "--force")
    assert_error(refused, 2, "s.pth does not fit lsnet_t", "of another shape", "weights of lsnet_s", "export lsnet_s")
    assert artifact.load(tmp_path / "lsnet_t-onnx").manifest.model.weights == "mine.pth", "the one before is still there"


# An export whose converter never ends, once it has everything it needs.
_HANGING = """
import signal, sys
from edgekit import pipeline
from edgekit.cli import main
from edgekit.targets import onnx

def never(worker, saved, target, profile, work):
    (work / "artifact").mkdir()
    (work / "artifact" / "model.onnx").write_text("half")
    print("lowering", worker.call("os:getpid", stage="asking"), file=sys.stderr, flush=True)
    worker.call("time:sleep", 600, stage="lowering")

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs in the background without it
onnx.REQUIRES = ()
pipeline._lowered = never
main()
"""


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_killed_export_leaves_nothing_half_written(
    tmp_path: Path, tiny_file: Path, ending: signal.Signals, code: int
) -> None:
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "EDGEKIT_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", _HANGING, *map(str, export_tiny(tiny_file, out))]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline().split()
        assert said[0] == "lowering", said + process.stderr.readlines()
        process.send_signal(ending)
        printed = process.communicate()
    assert process.returncode == code
    assert printed == ("", "")
    wait_until_gone(int(said[1]))
    assert not out.exists()
    assert not (tmp_path / "cache" / "artifacts").exists()
    leftovers = list(temporary.glob(f"{scratch.PREFIX}*"))
    assert len(leftovers) == (1 if ending == signal.SIGKILL else 0)
    with scratch.folder(temporary):
        assert not [path for path in leftovers if path.exists()], "the next export sweeps"
