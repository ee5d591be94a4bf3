"""The command line: what it prints where, its exit codes, and what it leaves behind when it is stopped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import SHAPE, Command, Done, assert_error, export_tiny, process

from edgekit import api, artifact
from edgekit.errors import ConversionError, Inconclusive, ParityError, Unsupported

# --- help and usage


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['edgekit', '--help']\n"
        "from edgekit.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, file=sys.stderr)\n"
        "heavy = ('torch', 'coremltools', 'onnxruntime', 'onnx', 'executorch', 'numpy', 'pandas', 'pydantic')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "0\n[]\n"
    for command in ("export", "verify", "inspect", "predict", "profile", "compare", "models", "devices", "doctor"):
        assert command in done.stdout
    assert "Exit codes: 0 done, 1 the answer is no" in done.stdout


def test_without_arguments_the_help_is_shown() -> None:
    assert process().out == process("--help").out != ""


def test_the_version_is_told(edgekit: Command) -> None:
    from edgekit import __version__

    assert edgekit("--version") == Done(0, f"edgekit {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["exprt"], ["No such command 'exprt'", "Did you mean 'export'", "edgekit --help"]),
        (["export"], ["Missing argument", "edgekit export --help"]),
        (["export", "lsnet", "--tarjet", "onnx"], ["--tarjet", "--target", "edgekit export --help"]),
        (["export", "lsnet", "--input-size", "big"], ["--input-size", "integer", "edgekit export --help"]),
        (["export", "lsnet", "--target"], ["--target", "argument"]),
        (["verify", "a", "b"], ["unexpected extra argument", "edgekit verify --help"]),
        (["export", "lsnet"], ["no target was given", "--target onnx, coreml or executorch"]),
        (["export", "lsnt", "-t", "onnx"], ["unknown model 'lsnt'", "did you mean lsnet"]),
        (["export", "lsnet", "-t", "onx"], ["unknown target 'onx'", "did you mean onnx?"]),
        (["export", "lsnet", "-t", "onnx", "-t", "cormel"], ["unknown target 'cormel'", "did you mean coreml?"]),
        (["export", "lsnet", "-t", "onnx", "--device", "hoost"], ["unknown device 'hoost'", "did you mean host"]),
        (["export", "lsnet", "-t", "onnx", "--passes", "fold_batchnrom"], ["unknown pass", "fold_batchnorm"]),
        (["export", "lsnet", "-t", "onnx", "--precision", "fp17"], ["'precision' cannot be 'fp17'", "'fp32' or 'fp16'"]),
        (["export", "lsnet", "-t", "onnx", "--input-size", "100"], ["100x100", "64 to 512", "try --input-size 96"]),
        (["export", "lsnet", "-t", "onnx", "--input-size", "-5"], ["'input_size' cannot be -5", "greater than 0"]),
        (["export", "lsnet", "-t", "onnx", "--weights", "no.pth"], ["no.pth does not exist", "--weights"]),
        (["export", "lsnet", "-t", "onnx", "--input-shape", "1,3"], ["--input-shape is for a file.py:factory"]),
        (["export", "no.yaml"], ["no.yaml does not exist"]),
        (["export", "no.py:build", "-t", "onnx", "--input-shape", "1"], ["no.py does not exist"]),
        (["verify", "nowhere"], ["nowhere is not an edgekit artifact", "no such directory"]),
        (["profile", "artifacts/lsnet_t-onx"], ["artifacts/lsnet_t-onx does not exist", "check the path"]),
        (["profile", "nothere.onnx"], ["nothere.onnx does not exist", "check the path"]),
        (["predict", "nowhere", "p.jpg"], ["nowhere is not an edgekit artifact"]),
    ],
)
def test_wrong_usage_exits_2_with_the_thing_the_cause_and_the_next_step(
    edgekit: Command, arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_error(edgekit(*arguments), 2, *words)
    told = edgekit(*arguments, "--json")
    assert (told.code, told.err) == (2, "")
    assert set(told.json) == {"error", "what", "cause", "next_step", "exit_code"}
    assert told.json["exit_code"] == 2
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize("shape", ["1,3,32x32", "", "1;3", "a,b", "1,,3", "1.5,3"])
def test_a_shape_that_is_none_is_refused(edgekit: Command, tiny_file: Path, shape: str) -> None:
    done = edgekit("export", f"{tiny_file}:build", "-t", "onnx", "--input-shape", shape)
    assert_error(done, 2, f"--input-shape {shape}", "--input-shape 1,3,224,224")


@pytest.mark.parametrize("shape", ["1,3,0,32", "1,3,-2,32"])
def test_a_shape_without_elements_is_refused(edgekit: Command, tiny_file: Path, shape: str) -> None:
    done = edgekit("export", f"{tiny_file}:build", "-t", "onnx", f"--input-shape={shape}")
    assert_error(done, 2, "input_shapes.0", "positive sizes")


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConversionError("it failed"), 1), (ParityError("it differs"), 1), (Inconclusive("who knows"), 3), (Unsupported("no"), 4)],
)
def test_every_kind_of_error_has_its_exit_code(
    edgekit: Command, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(api, "verify", fail)
    assert edgekit("verify", "x").code == code
    assert edgekit("verify", "x", "--json").json["exit_code"] == code


def test_a_fault_of_edgekit_s_own_is_no_answer(edgekit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "verify", lambda path: 1 / 0)
    done = edgekit("verify", "x")
    assert done.code == 70
    assert "Traceback" in done.err
    assert "edgekit itself failed: ZeroDivisionError" in done.err
    told = edgekit("verify", "x", "--json")
    assert (told.code, told.json["exit_code"]) == (70, 70)


# --- export, verify, predict on the tiny model


def test_an_export_prints_a_table_and_says_when_it_was_cached(
    edgekit: Command, tiny_artifact: Path, tiny_file: Path, tmp_path: Path
) -> None:
    done = edgekit(*export_tiny(tiny_file, tmp_path / "my artefacts"))
    assert (done.code, done.err) == (0, "")
    header, row = done.out.splitlines()
    assert header.split("  ")[0] == "artifact"
    assert str(tmp_path / "my artefacts" / "tiny_build-onnx") in row
    assert row.rstrip().endswith("cached")
    assert "\x1b" not in done.out
    artifact.load(tmp_path / "my artefacts" / "tiny_build-onnx")


def test_json_of_an_export_is_the_manifest_and_where_it_lies(
    edgekit: Command, tiny_artifact: Path, tiny_file: Path, tmp_path: Path
) -> None:
    done = edgekit(*export_tiny(tiny_file, tmp_path, "--json"))
    [made] = done.json
    assert made["directory"] == str(tmp_path / "tiny_build-onnx")
    assert made["from_cache"] is True
    assert made["manifest"] == json.loads((tmp_path / "tiny_build-onnx" / "manifest.json").read_text())


def test_an_existing_output_needs_force(edgekit: Command, tiny_file: Path, artifact_copy: Path) -> None:
    (artifact_copy / "mine").write_text("x")
    assert_error(edgekit(*export_tiny(tiny_file, artifact_copy.parent)), 2, "exists already", "--force")
    assert (artifact_copy / "mine").is_file()
    assert edgekit(*export_tiny(tiny_file, artifact_copy.parent, "--force")).code == 0
    assert not (artifact_copy / "mine").exists()


def test_force_does_not_remove_a_folder_of_the_user_s(edgekit: Command, tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny_build-onnx").mkdir()
    (tmp_path / "tiny_build-onnx" / "thesis.txt").write_text("years of work")
    assert_error(edgekit(*export_tiny(tiny_file, tmp_path, "--force")), 2, "is not edgekit's", "it holds no manifest.json")
    assert (tmp_path / "tiny_build-onnx" / "thesis.txt").is_file()


def test_an_output_below_a_file_is_refused(edgekit: Command, tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert_error(edgekit(*export_tiny(tiny_file, tmp_path / "file")), 2, "cannot write", "Not a directory", "--output")


def test_relative_paths_work_from_any_folder(
    edgekit: Command, lowered: None, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(tiny_file, tmp_path)
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    assert edgekit("export", "../tiny.py:build", "-t", "onnx", "--input-shape", SHAPE, "-o", ".").code == 0
    assert edgekit("verify", "tiny_build-onnx").code == 0
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["tiny_build-onnx"]


def test_one_target_twice_is_oneexport_tiny(edgekit: Command, tiny_artifact: Path, tiny_file: Path, tmp_path: Path) -> None:
    assert len(edgekit(*export_tiny(tiny_file, tmp_path, "--target", "onnx", "--json")).json) == 1


def test_what_was_made_before_a_failure_is_told(edgekit: Command, tiny_artifact: Path, tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny_build-executorch").mkdir()
    done = edgekit(*export_tiny(tiny_file, tmp_path, "--target", "executorch"))
    assert done.code == 2
    assert str(tmp_path / "tiny_build-onnx") in done.out
    assert "tiny_build-executorch exists already" in done.err
    artifact.load(tmp_path / "tiny_build-onnx")


def test_what_a_user_s_model_prints_never_mixes_with_json(
    edgekit: Command, lowered: None, tmp_path: Path, tiny_file: Path
) -> None:
    text = tiny_file.read_text().replace("def build():", "def build():\n    print('building')")
    (tmp_path / "tiny.py").write_text(text.replace("return self.fc", "print('running'); return self.fc"))
    done = edgekit(*export_tiny(tmp_path / "tiny.py", tmp_path / "out", "--json"))
    assert len(done.json) == 1
    assert "building" in done.err
    assert "running" in done.err


def test_a_failing_factory_is_told_with_its_line(edgekit: Command, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def build():\n    raise ValueError('no such layer count')\n")
    done = edgekit("export", tmp_path / "net.py:build", "-t", "onnx", "--input-shape", SHAPE, "-o", tmp_path / "out")
    assert_error(done, 2, "raised ValueError", "no such layer count", "line 2")
    assert not (tmp_path / "out").exists()


def test_a_module_that_cannot_be_captured_names_operator_and_line(edgekit: Command, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        return x if x.sum() > 0 else -x\n"
    )
    done = edgekit("export", tmp_path / "net.py:Net", "-t", "onnx", "--input-shape", SHAPE, "-o", tmp_path / "out")
    assert_error(done, 2, "torch.export cannot capture Net", "aten.item", "net.py:4", "if x.sum() > 0")
    assert not (tmp_path / "out").exists()


def test_verify_answers_yes_with_0_and_no_with_1(
    edgekit: Command, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = edgekit("verify", tiny_artifact)
    assert done.code == 0
    assert done.out.count("pass") == 2
    record = api.verify(tiny_artifact)
    assert edgekit("verify", tiny_artifact, "--json").json == record.model_dump(mode="json")
    failed = record.conversion.model_copy(update={"passed": False})
    monkeypatch.setattr(api, "verify", lambda path: record.model_copy(update={"conversion": failed}))
    done = edgekit("verify", tiny_artifact)
    assert done.code == 1
    assert "FAIL" in done.out
    assert edgekit("verify", tiny_artifact, "--json").code == 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: os.truncate(path / "model.onnx", 99), ["99 bytes", "cut short"]),
        (lambda path: (path / "reference.npz").unlink(), ["lacks reference.npz"]),
        (lambda path: os.truncate(path / "manifest.json", 300), ["manifest.json is damaged", "no JSON"]),
        (lambda path: _replace(path, '"passed": true', '"passed": null'), ["manifest.json was edited"]),
        (lambda path: _replace(path, '"schema_version": 1', '"schema_version": 2'), ["schema version 2", "install"]),
    ],
)
def test_a_damaged_artifact_is_refused(
    edgekit: Command, artifact_copy: Path, damage: Callable[[Path], object], words: list[str]
) -> None:
    damage(artifact_copy)
    for command in (["verify", artifact_copy], ["predict", artifact_copy, "p.jpg"]):
        assert_error(edgekit(*command), 2, *words)


def _replace(directory: Path, old: str, new: str) -> None:
    text = (directory / "manifest.json").read_text().replace(": ", ":").replace(":", ": ")
    assert old in text
    (directory / "manifest.json").write_text(text.replace(old, new))


def test_predicting_with_a_model_of_one_s_own_says_how(edgekit: Command, tiny_artifact: Path) -> None:
    assert_error(edgekit("predict", tiny_artifact, "p.jpg"), 2, "how a photograph becomes its input", "edgekit.open")


# --- the lists


def test_models_and_devices_are_listed(edgekit: Command) -> None:
    done = edgekit("models")
    assert done.code == 0
    assert "lsnet_t_distill" in done.out
    listed = {model["name"]: model for model in edgekit("models", "--json").json}
    assert listed["lsnet_t"]["input_sizes"][0] == 64
    assert listed["lsnet_t"]["preprocessing"]["crop_fraction"] == 0.9
    assert "host" in edgekit("devices").out
    assert "host" in [device["name"] for device in edgekit("devices", "--json").json["profiles"]]
    assert edgekit("devices", "--json").json["connected"][0]["name"] == "host"
