"""A session is recorded as it goes, and replayed without its device, told as what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Command, assert_error

from edgekit.devices.link.shell import Completed, LocalShell
from edgekit.devices.link.tape import Live, Recording, Replay, TapedShell
from edgekit.errors import DeviceError, InputError, Interrupted, OutputError, UsageError
from edgekit.profiling import Settings, profile
from edgekit.profiling.process import Worker


@pytest.fixture
def recorded(tiny_artifact: Path, tmp_path: Path) -> tuple[Path, Any]:
    """A recording and what was measured in it."""
    path = tmp_path / "session.jsonl"
    return path, profile([tiny_artifact], settings=Settings(duration_s=0.1), record=path)[0]


def test_a_replayed_session_gives_the_recorded_samples_and_starts_nothing(
    recorded: tuple[Path, Any], tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, measured = recorded

    def start(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(Worker, "__init__", start)
    (again,) = profile([tiny_artifact], device=f"replay:{path}", settings=Settings(duration_s=0.1))
    assert again.processes == measured.processes
    assert (again.p50_s, again.fingerprint, again.started_at) == (measured.p50_s, measured.fingerprint, measured.started_at)
    assert (again.provenance, again.source) == ("replayed", str(path))
    assert (measured.provenance, measured.source) == ("measured", None)


def test_no_recording_holds_a_path_of_this_machine(recorded: tuple[Path, Any], tiny_artifact: Path) -> None:
    requests = [json.loads(line).get("request") for line in recorded[0].read_text().splitlines()]
    assert str(tiny_artifact.parent) not in json.dumps(requests)


def test_another_request_than_the_recorded_one_is_refused_with_what_differs(
    recorded: tuple[Path, Any], tiny_artifact: Path
) -> None:
    with pytest.raises(UsageError, match="is of another session") as caught:
        profile([tiny_artifact], device=f"replay:{recorded[0]}", settings=Settings(duration_s=0.2))
    assert caught.value.cause.endswith("holds job duration_s 0.1, this session asks 0.2")


def test_a_recording_that_was_cut_off_gives_what_it_has(recorded: tuple[Path, Any], tiny_artifact: Path) -> None:
    path, measured = recorded
    lines = path.read_text().splitlines()
    last_block = max(number for number, line in enumerate(lines) if '"do": "block"' in line)
    path.write_text("\n".join(lines[:last_block]) + "\n")
    with pytest.raises(Interrupted, match="ends before this session does") as caught:
        profile([tiny_artifact], device=f"replay:{path}", settings=Settings(duration_s=0.1))
    (partial,) = caught.value.partial
    assert 0 < partial.runs < measured.runs
    assert partial.processes[0] == measured.processes[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "its first line does not say edgekit_recording: 1"),
        ('{"edgekit_recording": 2}', "its first line does not say edgekit_recording: 1"),
        ('{"edgekit_recording": 1, "device": "host"}\n{"request"', "line 2: "),
        ('{"edgekit_recording": 1, "device": "host"}\n[1]', "line 2 is no exchange"),
        ('{"edgekit_recording": 1, "device": "host"}\n{"request": {}}', "line 2 is no exchange"),
        ('{"edgekit_recording": 1, "device": "replay:x"}', "its device is replay:x"),
    ],
)
def test_what_is_no_recording_is_refused(text: str, said: str, tiny_artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        profile([tiny_artifact], device=f"replay:{path}")
    assert caught.value.cause.startswith(said)
    assert caught.value.next_step


def test_a_recording_is_never_overwritten(recorded: tuple[Path, Any], tiny_artifact: Path) -> None:
    before = recorded[0].read_bytes()
    with pytest.raises(OutputError, match="cannot record to"):
        profile([tiny_artifact], record=recorded[0])
    assert recorded[0].read_bytes() == before


def test_errors_are_recorded_and_come_back_as_what_they_were(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    recording = Recording(path, {"device": "host"})

    def lost() -> None:
        raise DeviceError("the board is gone", cause="unplugged", next_step="plug it in")

    with pytest.raises(DeviceError):
        recording.exchange({"do": "block"}, lost)
    recording.close()
    with pytest.raises(DeviceError, match="the board is gone") as caught:
        Replay(path).exchange({"do": "block"}, lambda: pytest.fail("performed"))
    assert (caught.value.cause, caught.value.next_step) == ("unplugged", "plug it in")


def test_a_shell_is_recorded_with_its_commands_and_files(tmp_path: Path) -> None:
    path, note = tmp_path / "session.jsonl", tmp_path / "note"
    note.write_text("42\n")

    def session(shell: TapedShell) -> list[object]:
        return [
            shell.run(["echo", "a b"]),
            shell.run(["no-such-command"]).code,
            shell.run(["sleep", "5"], limit_s=0.1).code,
            shell.read(str(note)),
            shell.read("/no/such/file"),
            shell.may_not_read(str(note)),
            shell.paths(f"{tmp_path}/no*"),
        ]

    recording = Recording(path, {})
    there = session(TapedShell(LocalShell(), recording))
    recording.close()
    note.unlink()
    assert there == [Completed(0, "a b\n"), 127, 124, "42\n", None, False, [str(note)]]
    assert session(TapedShell(LocalShell(), Replay(path))) == there
    assert TapedShell(LocalShell(), Live()).read(str(note)) is None


def test_from_the_command_line(edgekit: Command, tiny_artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    request = ["profile", tiny_artifact, "--duration", 0.1]
    assert edgekit(*request, "--record", path).code == 0
    done = edgekit(*request, "--device", f"replay:{path}")
    assert "(replayed)" in done.out
    assert "not measured now" in done.out
    assert_error(edgekit(*request, "--device", "replay:"), 2, "replay takes a recording")
    assert_error(edgekit(*request, "--device", "replay:nowhere"), 2, "cannot read the recording nowhere")
