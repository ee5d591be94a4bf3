"""An OpenSSH server of the tests' own on loopback: its own keys, port and configuration; nothing of the machine's is used."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from edgekit import devices
from edgekit.devices.link.tape import Live
from edgekit.errors import DeviceError
from edgekit.profiling import Settings

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
SSH = shutil.which("ssh")
MISSING = "" if SSHD and SSH else "takes OpenSSH: apt-get install openssh-server openssh-client"


class Server:
    """Started in `folder`. `bin` holds the client that finds its keys: put it before PATH."""

    def __init__(self, folder: Path, *options: str) -> None:
        assert SSHD
        assert SSH
        if os.geteuid() == 0:  # where it gives up its rights; a container that never booted has none
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.user, self.folder, self.port = pwd.getpwuid(os.getuid()).pw_name, folder, free_port()
        for name in ("host_key", "key", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "key.pub", folder / "authorized_keys")
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.log = folder / "log"
        self._server_configuration(options)
        self.known_hosts = folder / "known_hosts"
        self.know(folder / "host_key.pub")
        self.configuration = folder / "config"
        self.configure()
        self.bin = folder / "bin"
        self.bin.mkdir()
        client = self.bin / "ssh"  # ssh takes its user's home from the system, not from HOME
        client.write_text(f'#!/bin/sh\nexec {SSH} -F {self.configuration} "$@"\n')
        client.chmod(0o755)
        self._process = subprocess.Popen([SSHD, "-D", "-f", folder / "sshd_config", "-E", self.log])
        self._wait()

    @property
    def device(self) -> str:
        """As `--device` takes it, but for the Python there."""
        return f"ssh:{self.user}@127.0.0.1:{self.port}"

    def know(self, public_key: Path) -> None:
        """Make it the host key that the client knows."""
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public_key.read_text()}")

    def configure(self, key: str = "key", **options: object) -> None:
        """Write the client's configuration."""
        lines = {
            "IdentityFile": self.folder / key,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "SetEnv": f"TMPDIR={self.temporary} SHLVL=1",  # with which bash leaves out the .bashrc of whoever runs the tests
            **options,
        }
        alias = f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\n  User {self.user}\n"
        self.configuration.write_text(alias + "Host *\n" + "".join(f"  {name} {value}\n" for name, value in lines.items()))

    def sessions(self) -> list[psutil.Process]:
        """What the server has running for its clients."""
        return psutil.Process(self._process.pid).children(recursive=True)

    def hang_up(self) -> None:
        """End every connection, as a board does that loses its power."""
        for process in self.sessions():
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended with another
                if process.name().startswith("sshd"):
                    process.kill()

    def stop(self) -> None:
        self.hang_up()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)

    def _server_configuration(self, options: tuple[str, ...]) -> None:
        lines = (
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder / 'host_key'}",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            f"PidFile {self.folder / 'pid'}",
            "AcceptEnv TMPDIR SHLVL",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin yes",
            *options,
        )
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(f"sshd does not listen: {self.log.read_text()}")


def until(holds: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Return once it holds; fail after `limit_s`."""
    ends = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def failure(device: str) -> DeviceError:
    """What edgekit says of a device that does not answer what it is."""
    with devices.connect(device, Live()) as reached, pytest.raises(DeviceError) as caught:
        reached.check(Settings())
    assert caught.value.exit_code == 4
    assert caught.value.cause
    assert caught.value.next_step
    return caught.value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
