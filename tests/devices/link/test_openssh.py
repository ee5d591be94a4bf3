"""The connection to a board, against a real OpenSSH server on loopback: its shell, its files, and every way it is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sshd

from edgekit import devices
from edgekit.devices.link.openssh import SshShell
from edgekit.devices.link.tape import Live
from edgekit.errors import DeviceError, Unsupported


@pytest.fixture
def shell(board: sshd.Server) -> Iterator[SshShell]:
    with_board = SshShell("ssh:board", "board", None)
    yield with_board
    with_board.close()


def test_words_arrive_as_they_were_given(shell: SshShell) -> None:
    words = ["a b", "$HOME", "it's", "*", 'say "no"', "back\\slash", "", "-n", ";exit 3", "häuschen"]
    assert shell.run(["printf", "%s\n", *words]).stdout.splitlines() == words


def test_a_command_s_end_is_told(shell: SshShell) -> None:
    done = shell.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert shell.run(["there-is-no-such-command"]).code == 127
    assert shell.run(["sh", "-c", "exit 255"]).code == 255, "which is also how a client ends that lost its connection"
    assert shell.read("/proc/version") == Path("/proc/version").read_text()
    assert shell.read("/nowhere") is None


def test_a_command_past_its_limit_is_ended_there(shell: SshShell, board: sshd.Server) -> None:
    assert shell.run(["sleep", "600"], limit_s=0.5).code == 124
    sshd.until(lambda: not [one for one in board.sessions() if one.name() == "sleep"])


def test_a_file_is_sent_once_and_whole(shell: SshShell, tmp_path: Path) -> None:
    path = tmp_path / "a model's file.bin"
    path.write_bytes(os.urandom(3_000_000))
    there = Path(shell.put(path))
    assert there.read_bytes() == path.read_bytes()
    assert Path(shell.folder).stat().st_mode & 0o077 == 0
    sent = there.stat()
    assert shell.put(path) == str(there)
    assert there.stat().st_mtime_ns == sent.st_mtime_ns
    path.write_bytes(b"another")
    assert shell.put(path) != str(there)


def test_what_lies_beside_a_file_goes_with_it(shell: SshShell, tmp_path: Path) -> None:
    data = tmp_path / "parts" / "w.bin"
    data.parent.mkdir()
    (tmp_path / "m.onnx").write_bytes(b"graph")
    places = []
    for content in (b"weights", b"others"):
        data.write_bytes(content)
        places.append(Path(shell.put(tmp_path / "m.onnx", [data])))
        assert (places[-1].parent / "parts" / "w.bin").read_bytes() == content
    assert places[0] != places[1]
    assert places[1].read_bytes() == b"graph"


def test_the_folder_goes_with_edgekit_even_when_it_is_killed(board: sshd.Server) -> None:
    program = """if True:
        import time
        from edgekit.devices.link.openssh import SshShell
        print(SshShell("ssh:board", "board", None).folder, flush=True)
        time.sleep(600)
    """
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    folder = Path(child.stdout.readline().strip())
    assert folder.parent == board.temporary
    assert folder.is_dir()
    child.kill()
    child.wait()
    child.stdout.close()
    sshd.until(lambda: not folder.exists())


@pytest.fixture
def chatty(
    board: sshd.Server, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[sshd.Server]:
    """A server whose users are greeted before their commands run, as by a .bashrc that prints."""
    started = sshd.Server(
        tmp_path_factory.mktemp("chatty"),
        """ForceCommand echo '{"answer": "Welcome!"}'; echo 'locale: none' >&2; exec sh -c "$SSH_ORIGINAL_COMMAND" """,
    )
    monkeypatch.setenv("PATH", f"{started.bin}{os.pathsep}{os.environ['PATH']}")
    yield started
    started.stop()


def test_what_login_scripts_print_disturbs_nothing(chatty: sshd.Server, bare: Path) -> None:
    with devices.connect(f"{chatty.device}{bare}", Live()) as device:
        assert device.facts().os.startswith("Linux ")
        assert device.shell is not None
        done = device.shell.run(["echo", "here"])
    assert (done.stdout, done.stderr) == ("here\n", "")


def test_an_unknown_host(board: sshd.Server) -> None:
    error = sshd.failure("ssh:pi@nowhere.invalid")
    assert error.what == "ssh:pi@nowhere.invalid is not known by that name"
    assert "nowhere.invalid" in error.cause
    assert "spelling" in error.next_step


def test_a_host_without_a_server(board: sshd.Server) -> None:
    error = sshd.failure(f"ssh:{board.user}@127.0.0.1:{sshd.free_port()}")
    assert error.what.endswith("has no SSH server there")
    assert "systemctl enable --now ssh" in error.next_step


def test_a_host_key_that_is_not_known(board: sshd.Server) -> None:
    board.known_hosts.write_text("")
    error = sshd.failure(board.device)
    assert error.what.endswith("has a host key that is not known yet")
    assert error.next_step.endswith(f"ssh -p {board.port} {board.user}@127.0.0.1")


def test_a_host_key_that_changed(board: sshd.Server) -> None:
    board.know(board.folder / "stranger.pub")
    error = sshd.failure(board.device)
    assert error.what.endswith("has another host key than before")
    assert f"ssh-keygen -R '[127.0.0.1]:{board.port}'" in error.next_step


def test_a_key_that_is_not_let_in(board: sshd.Server) -> None:
    board.configure("stranger")
    error = sshd.failure(board.device)
    assert error.what.endswith("does not let you in")
    assert "Permission denied (publickey)" in error.cause
    assert f"ssh-copy-id -p {board.port} {board.user}@127.0.0.1" in error.next_step


def test_a_user_who_may_run_no_commands(board: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = sshd.Server(tmp_path, "ForceCommand echo This account is currently not available.; exit 1")
    monkeypatch.setenv("PATH", f"{closed.bin}{os.pathsep}{os.environ['PATH']}")
    error = sshd.failure(closed.device)
    closed.stop()
    assert error.what == f"{closed.device} runs no commands"
    assert error.cause == "This account is currently not available."


def test_a_server_that_opens_no_more_sessions(board: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = sshd.Server(tmp_path, "MaxSessions 1")
    monkeypatch.setenv("PATH", f"{narrow.bin}{os.pathsep}{os.environ['PATH']}")
    error = sshd.failure(narrow.device)
    narrow.stop()
    assert error.what == f"{narrow.device} opens no more sessions"
    assert "MaxSessions" in error.next_step


def test_no_ssh_client_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="cannot reach ssh:board") as caught:
        SshShell("ssh:board", "board", None).run(["true"])
    assert "openssh-client" in caught.value.next_step


def test_a_full_disk_there(board: sshd.Server, shell: SshShell, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", small], check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root's rights")
    try:
        board.configure(SetEnv=f"TMPDIR={small} SHLVL=1")
        large = tmp_path / "large.onnx"
        large.write_bytes(bytes(1_000_000))
        with pytest.raises(DeviceError) as caught:
            shell.put(large)
        assert caught.value.what == f"ssh:board has no room for {large} (1.0 MB)"
        assert "No space left on device" in caught.value.cause
        assert "TMPDIR" in caught.value.next_step
        shell.put(Path(__file__))
        shell.close()
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_file_past_what_a_user_may_store(board: sshd.Server, shell: SshShell, tmp_path: Path) -> None:
    large = tmp_path / "large.onnx"
    large.write_bytes(bytes(1_000_000))
    assert shell.folder
    for one in board.sessions():
        if one.name().startswith("sshd"):
            psutil.Process(one.pid).rlimit(psutil.RLIMIT_FSIZE, (100_000, 100_000))
    with pytest.raises(DeviceError) as caught:
        shell.put(large)
    assert "large.onnx (1.0 MB)" in caught.value.what
    assert caught.value.cause


def test_a_place_where_no_folder_can_be_made(board: sshd.Server) -> None:
    board.configure(SetEnv="TMPDIR=/proc/nowhere SHLVL=1")
    error = sshd.failure(board.device)
    assert error.what == f"there is no place for a folder on {board.device}"
    assert "/proc/nowhere" in error.cause
    assert "TMPDIR" in error.next_step
