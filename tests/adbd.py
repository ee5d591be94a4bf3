"""A phone without the phone: Android's own adb daemon, shell and commands, as Debian builds them, behind the real adb client.

`scripts/fetch_adbd` unpacks them. The daemon runs as root in namespaces of its own (network, mounts, processes), on a
`/data/local/tmp` that is as large as a test wants; the client and its server join its network.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(os.environ.get("EDGEKIT_ADBD", Path.home() / ".cache" / "edgekit-adbd"))
SERIAL = "127.0.0.1:5599"  # not a port where adb looks for emulators
_LIBRARIES = ROOT / "usr/lib/x86_64-linux-gnu"
PROPERTIES = {
    "ro.product.manufacturer": "Example",
    "ro.product.model": "Phone 1",
    "ro.build.version.release": "14",
    "ro.build.fingerprint": "example/phone/phone:14/TEST/1:user/release-keys",
    "ro.soc.manufacturer": "Example",
    "ro.soc.model": "EX1",
    "ro.product.cpu.abilist": "x86_64",
}

_START = """
set -e
mount --bind {root} {root}
cd {root}
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev
for node in null zero urandom; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mount -t tmpfs -o {data} tmpfs data/local/tmp
{binds}
ip link set lo up
exec chroot . /system/bin/env -i PATH=/vendor:/system/bin ADBD_PORT=5599 HOME=/ /usr/lib/android-sdk/platform-tools/adbd
"""


def why_not() -> str | None:
    """Why none can be started here; None where one can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "the daemon needs root"
    if not (ROOT / "usr/lib/android-sdk/platform-tools/adbd").is_file() or not _LIBRARIES.is_dir():
        return f"no adb daemon in {ROOT}: scripts/fetch_adbd unpacks one"
    if subprocess.run(["unshare", "-n", "-m", "-p", "-f", "true"], capture_output=True, check=False).returncode != 0:
        return "this machine gives no namespaces"
    return None


_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""Ends a process when the tests are ended, by whatever."""
_DATA = "size=256m,mode=777"


class Phone:
    """A running daemon, and an `adb` on PATH that reaches it and nothing else."""

    def __init__(self, folder: Path, *, data: str = _DATA, binds: Sequence[Path] = ()) -> None:
        self._folder = folder
        vendor = folder / "vendor"
        vendor.mkdir()
        self.vendor = vendor
        (vendor / "build.prop").write_text("".join(f"{name}={value}\n" for name, value in PROPERTIES.items()))
        self.program("getprop", 'sed -n "s/^$1=//p" /vendor/build.prop')
        mounts = [(vendor, "vendor"), *((path, str(path).lstrip("/")) for path in binds)]
        lines = [f"mkdir -p {there}; mount --rbind {shlex.quote(str(here))} {there}" for here, there in mounts]
        script = _START.format(root=shlex.quote(str(ROOT)), data=data, binds="\n".join(lines))
        self._log = (folder / "adbd.log").open("wb")
        self._daemon = subprocess.Popen(
            [*_WITH_US, "unshare", "-n", "-m", "-p", "-f", "--kill-child", "sh", "-c", script],
            stdout=self._log,
            stderr=self._log,
        )
        self._server: subprocess.Popen[bytes] | None = None
        self._connect()

    def program(self, name: str, script: str) -> None:
        """A command of the phone that Android has and toybox does not."""
        path = self.vendor / name
        path.write_text(f"#!/system/bin/sh\n{script}\n")
        path.chmod(0o755)

    def adb(self, *arguments: str) -> str:
        """What the client prints."""
        command = [str(self._folder / "bin" / "adb"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout

    def unplug(self) -> None:
        """The daemon is gone, and all that it started."""
        self._daemon.kill()
        self._daemon.wait()

    def stop(self) -> None:
        self.unplug()
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        self._log.close()

    def _connect(self) -> None:
        """Start the client's server in the daemon's network, and let it find the daemon."""
        children = Path(f"/proc/{self._daemon.pid}/task/{self._daemon.pid}/children")
        _await(lambda: children.read_text() != "")
        (self._folder / "bin").mkdir()
        self._write_client(children.read_text().split()[0])
        client = self._folder / "bin" / "adb"
        self._server = subprocess.Popen([*_WITH_US, str(client), "server", "nodaemon"], stdout=self._log, stderr=self._log)
        _await(lambda: "connected to" in self.adb("connect", SERIAL))
        _await(lambda: f"{SERIAL}\tdevice" in self.adb("devices"))
        self._write_client(str(self._server.pid))  # which outlives the daemon

    def _write_client(self, neighbour: str) -> None:
        """The `adb` that joins the network of a process."""
        loader = [str(_LIBRARIES / "ld-linux-x86-64.so.2"), "--library-path", f"{_LIBRARIES}:{_LIBRARIES}/android"]
        program = str(ROOT / "usr/lib/android-sdk/platform-tools/adb")
        client = shlex.join(["nsenter", "-t", neighbour, "-n", *loader, program])
        path = self._folder / "bin" / "adb"
        path.write_text(f'#!/bin/sh\nexport HOME={shlex.quote(str(self._folder))}\nexec {client} "$@"\n')
        path.chmod(0o755)


def _await(happened: Callable[[], bool]) -> None:
    for _ in range(200):
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("the daemon did not start: see adbd.log")


@contextlib.contextmanager
def phone(folder: Path, *, data: str = _DATA, binds: Sequence[Path] = ()) -> Iterator[Phone]:
    """A phone, and its `adb` on PATH. `folder` is for its files here, `data` are the mount options of /data/local/tmp, `binds`
    are folders of this machine that it sees too."""
    started = Phone(folder, data=data, binds=binds)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{folder / 'bin'}{os.pathsep}{path}"
    try:
        yield started
    finally:
        os.environ["PATH"] = path
        started.stop()


def main() -> None:
    """Run a command beside a phone, as to record a session by hand; `--bind FOLDER` before it, for folders that it sees too."""
    words, binds = sys.argv[1:], []
    while words and words[0] == "--bind":
        binds.append(Path(words[1]))
        words = words[2:]
    with tempfile.TemporaryDirectory() as folder, phone(Path(folder), binds=binds):
        sys.exit(subprocess.run(words, check=False).returncode)


if __name__ == "__main__":
    main()
