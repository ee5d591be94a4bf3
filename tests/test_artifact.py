"""An artifact appears whole or not at all, and shows whatever was changed since."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit import artifact, publishing, scratch
from edgekit.errors import ArtifactError, EdgekitError, OutputError, Unsupported
from edgekit.recipe import Recipe


def _edit(directory: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = False) -> None:
    """Change the manifest's JSON; `seal` gives it the digest of its new content."""
    path = directory / artifact.MANIFEST
    data = json.loads(path.read_text())
    change(data)
    if seal:
        data["digest"] = artifact._digest(data)
    path.write_text(json.dumps(data))


def _refusal(directory: Path, *words: str) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        artifact.load(directory)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)
    assert caught.value.next_step
    assert caught.value.exit_code == 2
    return caught.value


def test_a_whole_artifact_loads(tiny_artifact: Path) -> None:
    loaded = artifact.load(tiny_artifact)
    assert loaded.model_file == tiny_artifact / "model.onnx"
    assert loaded.size_bytes == loaded.model_file.stat().st_size
    assert loaded.manifest.schema_version == 1
    assert [file.path for file in loaded.manifest.files] == ["model.onnx", "reference.npz"]


@pytest.mark.parametrize(
    ("quantize", "more_precise"),
    [
        (None, "--precision fp32"),
        ("int8", "--quantize mixed --least-sqnr-db 30"),
        ("mine.yaml", "a plan that leaves more in floating point"),
        ({"scheme": "mixed", "most_size_mb": 1.0}, "a wider bound"),
        ({"scheme": "mixed", "least_sqnr_db": 25.0}, "a higher --least-sqnr-db"),
    ],
)
def test_what_is_more_precise_is_never_what_was_asked_for(tiny_artifact: Path, quantize: object, more_precise: str) -> None:
    manifest = artifact.load(tiny_artifact).manifest
    recipe = Recipe.model_validate({**manifest.recipe.model_dump(), "quantize": quantize})
    assert manifest.model_copy(update={"recipe": recipe}).more_precise == more_precise
    assert recipe.precision_bound_db == (25.0 if "higher" in more_precise else 30.0)


def test_a_manifest_survives_writing_and_reading(tiny_artifact: Path, tmp_path: Path) -> None:
    manifest = artifact.load(tiny_artifact).manifest
    artifact.write_manifest(tmp_path, manifest)
    assert (tmp_path / artifact.MANIFEST).read_bytes() == (tiny_artifact / artifact.MANIFEST).read_bytes()


def test_a_reformatted_manifest_is_the_same_manifest(artifact_copy: Path) -> None:
    _edit(artifact_copy, lambda data: None)
    artifact.load(artifact_copy)


# --- damaged, edited, newer


def test_a_model_file_cut_short_is_refused(artifact_copy: Path) -> None:
    os.truncate(artifact_copy / "model.onnx", 100)
    _refusal(artifact_copy, "model.onnx", "100 bytes", "the manifest says", "export it again")


def test_one_changed_byte_in_the_model_file_is_noticed(artifact_copy: Path) -> None:
    content = bytearray((artifact_copy / "model.onnx").read_bytes())
    content[500] ^= 1
    (artifact_copy / "model.onnx").write_bytes(content)
    _refusal(artifact_copy, "model.onnx", "SHA-256")


@pytest.mark.parametrize("name", ["model.onnx", "reference.npz"])
def test_a_missing_file_is_named(artifact_copy: Path, name: str) -> None:
    (artifact_copy / name).unlink()
    _refusal(artifact_copy, f"lacks {name}", "the manifest lists it")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["parity"]["conversion"].update(sqnr_db=199.0),
        lambda data: data["model"].update(name="better"),
        lambda data: data["recipe"].update(conversion_sqnr_db=1.0),
        lambda data: data.update(notes="mine"),
        lambda data: data.pop("target"),
        lambda data: data.pop("digest"),
        lambda data: data["files"].pop(),
    ],
)
def test_an_edited_manifest_is_refused(artifact_copy: Path, change: Callable[[dict[str, Any]], object]) -> None:
    _edit(artifact_copy, change)
    _refusal(artifact_copy, "manifest.json was edited", "digest")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no JSON"),
        (b'{"schema_version": 1, ', "no JSON"),
        (b"[1, 2]", "no schema_version"),
        (b"null", "no schema_version"),
        (b"{}", "no schema_version"),
        (b"\x9d\x31\xb8\xf9", "no text"),
    ],
)
def test_a_manifest_that_is_no_manifest_is_refused(artifact_copy: Path, content: bytes, words: str) -> None:
    (artifact_copy / artifact.MANIFEST).write_bytes(content)
    _refusal(artifact_copy, "manifest.json is damaged", words)


@pytest.mark.parametrize("version", [2, 0, "1"])
def test_another_schema_version_is_refused_with_the_way_out(artifact_copy: Path, version: object) -> None:
    _edit(artifact_copy, lambda data: data.update(schema_version=version, unheard_of=True), seal=True)
    _refusal(artifact_copy, f"schema version {version!r}", "this edgekit reads version 1", "install the edgekit that wrote it")


@pytest.mark.parametrize("path", ["/etc/hostname", "../model.onnx", "model.mlpackage/../../x", ""])
def test_a_manifest_that_lists_files_outside_is_refused(artifact_copy: Path, path: str) -> None:
    _edit(artifact_copy, lambda data: data["files"][0].update(path=path), seal=True)
    _refusal(artifact_copy, "files.0.path", "no path inside the artifact")


def test_a_manifest_without_files_is_refused(artifact_copy: Path) -> None:
    _edit(artifact_copy, lambda data: data.update(files=[]), seal=True)
    _refusal(artifact_copy, "files")


def test_a_file_that_cannot_be_read_is_named(artifact_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(artifact, "sha256_of", refuse)
    _refusal(artifact_copy, "model.onnx cannot be read", "Permission denied", "permissions")


def test_what_is_no_artifact_is_told_apart(tmp_path: Path) -> None:
    assert _refusal(tmp_path / "nowhere").cause == "no such directory"
    assert "it holds no manifest.json" in _refusal(tmp_path).cause
    (tmp_path / "file").write_text("x")
    assert _refusal(tmp_path / "file").cause == "it is a file"


def test_the_artifact_that_was_probably_meant_is_offered(artifact_copy: Path) -> None:
    assert _refusal(artifact_copy.parent).next_step == f"did you mean {artifact_copy}?"
    assert _refusal(artifact_copy / "model.onnx").next_step == f"did you mean {artifact_copy}?"


# --- publishing


def _contents(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_a_published_artifact_is_a_copy_with_nothing_beside_it(tiny_artifact: Path, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "made"
    publishing.publish(tiny_artifact, target)
    assert _contents(target) == _contents(tiny_artifact)
    assert list(target.parent.iterdir()) == [target]


def test_an_existing_artifact_is_kept_without_force(tiny_artifact: Path, artifact_copy: Path) -> None:
    (artifact_copy / "mine").write_text("x")
    with pytest.raises(OutputError, match="exists already") as caught:
        publishing.publish(tiny_artifact, artifact_copy)
    assert "--force" in caught.value.next_step
    assert (artifact_copy / "mine").is_file()


def test_force_replaces_an_artifact_with_all_that_was_in_it(tiny_artifact: Path, artifact_copy: Path) -> None:
    (artifact_copy / "old").write_text("x")
    publishing.publish(tiny_artifact, artifact_copy, force=True)
    assert _contents(artifact_copy) == _contents(tiny_artifact)
    assert list(artifact_copy.parent.iterdir()) == [artifact_copy]


def test_force_never_replaces_what_is_no_artifact(tiny_artifact: Path, tmp_path: Path) -> None:
    folder, file, link = tmp_path / "folder", tmp_path / "file", tmp_path / "link"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    file.write_text("x")
    link.symlink_to(tmp_path / "nowhere")
    for precious in (folder, file, link):
        with pytest.raises(OutputError, match="exists and is not edgekit's") as caught:
            publishing.publish(tiny_artifact, precious, force=True)
        assert "--force replaces only what edgekit wrote" in caught.value.cause
    assert (folder / "thesis.txt").read_text() == "years of work"
    assert file.read_text() == "x"
    assert link.is_symlink()


def test_checking_an_output_leaves_nothing_behind(tmp_path: Path) -> None:
    publishing.check_output(tmp_path / "deep" / "er" / "made", force=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["file/made", "file/deep/made"])
def test_a_file_in_the_way_is_named(tiny_artifact: Path, tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("x")
    for attempt in (
        lambda path: publishing.check_output(path, force=False),
        lambda path: publishing.publish(tiny_artifact, path),
    ):
        with pytest.raises(OutputError, match="cannot write") as caught:
            attempt(tmp_path / below)
        assert caught.value.cause == f"{tmp_path / 'file'}: Not a directory"
        assert caught.value.exit_code == 2


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system where not even root may write")
def test_a_place_that_may_not_be_written_is_refused(tiny_artifact: Path) -> None:
    with pytest.raises(OutputError, match="cannot write /proc/made") as caught:
        publishing.publish(tiny_artifact, Path("/proc/made"))
    assert "/proc" in caught.value.cause
    assert "--output" in caught.value.next_step


def test_a_name_too_long_for_the_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        publishing.check_output(tmp_path / ("x" * 300), force=False)
    assert "File name too long" in caught.value.cause


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("gathered", [False, True])
def test_a_full_disk_publishes_nothing_and_keeps_what_was_there(
    tiny_artifact: Path, artifact_copy: Path, monkeypatch: pytest.MonkeyPatch, number: int, gathered: bool
) -> None:
    def fill_up(source: Path, destination: Path) -> None:
        destination.mkdir()
        (destination / "half").write_text("written")
        error = OSError(number, os.strerror(number))
        raise shutil.Error([(str(source), str(destination), str(error))]) if gathered else error

    (artifact_copy / "old").write_text("x")
    monkeypatch.setattr(shutil, "copytree", fill_up)
    with pytest.raises(Unsupported, match="no space left") as caught:
        publishing.publish(tiny_artifact, artifact_copy, force=True)
    assert caught.value.exit_code == 4
    assert "disk is full" in caught.value.cause
    assert (artifact_copy / "old").is_file()
    assert list(artifact_copy.parent.iterdir()) == [artifact_copy]


def test_any_other_failure_to_copy_is_explained(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Path, destination: Path) -> None:
        raise shutil.Error([(str(source), str(destination), "[Errno 5] Input/output error")])

    monkeypatch.setattr(shutil, "copytree", fail)
    with pytest.raises(OutputError, match="cannot write") as caught:
        publishing.publish(tiny_artifact, tmp_path / "made")
    assert "Input/output error" in caught.value.cause
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("blow", [OSError(errno.EIO, "Input/output error"), SystemExit(143), KeyboardInterrupt()])
def test_an_interrupted_replacement_puts_the_old_artifact_back(
    tiny_artifact: Path, artifact_copy: Path, monkeypatch: pytest.MonkeyPatch, blow: BaseException
) -> None:
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "fresh":
            raise blow
        return rename(self, target)

    (artifact_copy / "old").write_text("x")
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises((EdgekitError, SystemExit, KeyboardInterrupt)):
        publishing.publish(tiny_artifact, artifact_copy, force=True)
    assert (artifact_copy / "old").is_file()
    assert list(artifact_copy.parent.iterdir()) == [artifact_copy]


def test_exports_into_the_same_place_at_once_leave_one_whole_artifact(tiny_artifact: Path, tmp_path: Path) -> None:
    target, failures = tmp_path / "made", []

    def publish_often() -> None:
        try:
            for _ in range(25):
                publishing.publish(tiny_artifact, target, force=True)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=publish_often) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert _contents(target) == _contents(tiny_artifact)
    assert list(tmp_path.iterdir()) == [target]


def test_of_exports_at_once_without_force_one_wins_and_the_others_are_told(tiny_artifact: Path, tmp_path: Path) -> None:
    target, answers = tmp_path / "made", []
    together = threading.Barrier(3)

    def publish_once() -> None:
        together.wait()
        try:
            publishing.publish(tiny_artifact, target)
            answers.append("made")
        except OutputError as error:
            answers.append(error.what)

    threads = [threading.Thread(target=publish_once) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted(["made", f"{target} exists already", f"{target} exists already"])
    assert _contents(target) == _contents(tiny_artifact)


@pytest.mark.parametrize("force", [True, False])
def test_an_export_that_was_quicker_by_a_moment_is_replaced_or_kept_as_any_other(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    target, rename, quicker = tmp_path / "made", Path.rename, []

    def second(self: Path, destination: Path) -> Path:
        if self.name == "fresh" and not quicker:
            quicker.append(shutil.copytree(tiny_artifact, destination))
            (target / "the quicker one").write_text("x")
        return rename(self, destination)

    monkeypatch.setattr(Path, "rename", second)
    if force:
        publishing.publish(tiny_artifact, target, force=True)
    else:
        with pytest.raises(OutputError, match="exists already"):
            publishing.publish(tiny_artifact, target)
    assert (target / "the quicker one").exists() is not force
    assert set(_contents(tiny_artifact)) <= set(_contents(target))
    assert list(tmp_path.iterdir()) == [target]


def test_an_artifact_that_another_export_is_just_replacing_is_not_taken_for_a_strangers(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, is_file, replaced = tmp_path / "made", Path.is_file, []
    publishing.publish(tiny_artifact, target)

    def between(self: Path) -> bool:
        if self.parent != target or replaced:
            return is_file(self)
        replaced.append(target.rename(tmp_path / "moved away"))
        answer = is_file(self)
        shutil.copytree(tiny_artifact, target)
        return answer

    monkeypatch.setattr(Path, "is_file", between)
    publishing.publish(tiny_artifact, target, force=True)
    assert replaced
    assert _contents(target) == _contents(tiny_artifact)


def test_publishing_sweeps_what_a_killed_export_left_beside_it(tiny_artifact: Path, tmp_path: Path) -> None:
    leftover = tmp_path / f"{scratch.PREFIX}dead"
    leftover.mkdir()
    (leftover / "half").write_text("written")
    publishing.publish(tiny_artifact, tmp_path / "made")
    assert list(tmp_path.iterdir()) == [tmp_path / "made"]
