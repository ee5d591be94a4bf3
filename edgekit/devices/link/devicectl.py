"""The iPhones that a Mac knows, as `xcrun devicectl` (Xcode 15 and later) lists them, and what keeps one from being used."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import scratch
from edgekit.devices.link.shell import Completed, LocalShell
from edgekit.errors import DeviceError, Unsupported


@dataclass(frozen=True)
class Phone:
    """An iPhone, as listed."""

    udid: str
    identifier: str
    """CoreDevice's own."""
    name: str
    hardware: str
    os_version: str
    build: str
    pairing: str
    """paired or unpaired."""
    tunnel: str
    """connected; disconnected, the resting state of one within reach; unavailable."""
    developer_mode: str
    """enabled or disabled."""

    def trouble(self) -> tuple[str, str] | None:
        """What keeps it from being used, and what to do; None when nothing does."""
        if self.pairing and self.pairing != "paired":
            return f"it is {self.pairing}", f"unlock it, then: xcrun devicectl manage pair --device {self.udid}, and tap Trust"
        if self.tunnel == "unavailable":
            return "it is out of reach (unavailable)", "plug it in, or join it to this Mac's Wi-Fi, and unlock it"
        if self.developer_mode == "disabled":
            return "its Developer Mode is off", "turn it on: Settings, Privacy & Security, Developer Mode"
        return None


def is_here() -> bool:
    """Whether this machine has Xcode's command line."""
    return shutil.which("xcrun") is not None


def require() -> None:
    """Raise Unsupported where it has not."""
    if not is_here():
        raise Unsupported(
            "an iPhone is measured from a Mac with Xcode",
            cause="there is no xcrun here",
            next_step="write a project here and run it on a Mac: edgekit xcode ARTIFACT --output DIR (docs/iphone.md)",
        )


def phones() -> list[Phone]:
    """The iPhones this Mac knows. Raises Unsupported without Xcode, DeviceError when it does not answer."""
    require()
    with scratch.folder() as folder:
        answer = folder / "devices.json"
        done = LocalShell().run(["xcrun", "devicectl", "list", "devices", "-j", str(answer)])
        if done.code != 0:
            raise _no_list(_said(done))
        try:
            return _read(answer)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _no_list(f"what it wrote is not as expected: {type(error).__name__}: {error}") from error


def wake(phone: Phone) -> None:
    """Open the tunnel to a phone at rest. Raises DeviceError that says what keeps it from answering."""
    done = LocalShell().run(["xcrun", "devicectl", "device", "info", "details", "--device", phone.identifier], limit_s=60)
    if done.code != 0:
        raise refused(phone, _said(done))


def refused(phone: Phone, said: str) -> DeviceError:
    """The error for what `said`, the words of devicectl, xcodebuild or coremltools, mean."""
    for pattern, cause, next_step in _MEANINGS:
        if re.search(pattern, said, re.IGNORECASE):
            return DeviceError(f"{phone.name} cannot be used: {cause}", cause=_short(said), next_step=next_step)
    return DeviceError(
        f"{phone.name} cannot be used", cause=_short(said), next_step="see what `edgekit devices` says of it, and measure again"
    )


_AWAKE = "unlock it, let its screen stay on (Settings, Display & Brightness, Auto-Lock, Never), and measure again"
_MEANINGS = (
    (r"could not be,? unlocked|\blocked\b|passcode.protected|error 10003\b", "it is locked", _AWAKE),
    (r"not trusted", "it does not trust your team", "trust it there: Settings, General, VPN & Device Management"),
    (r"developer mode", "its Developer Mode is off", "turn it on: Settings, Privacy & Security, Developer Mode"),
    (r"developer disk image", "Xcode lacks support for its iOS", "open Xcode's Devices window once with the phone plugged in"),
    (r"not paired|\bunpaired\b|must be paired", "it is not paired", "xcrun devicectl manage pair --device UDID, and tap Trust"),
    (
        r"development team|provisioning|signing|code.?sign",
        "its app could not be signed",
        "give your team: EDGEKIT_APPLE_TEAM=ABCDE12345 (developer.apple.com/account, Membership details)",
    ),
    (
        r"disconnected|could not be established|connection (interrupted|was )|timed? ?out|not found|not connected|unavailable",
        "it is out of reach",
        "plug it in again, unlock it, and measure again",
    ),
)


def _read(answer: Path) -> list[Phone]:
    found = []
    for device in json.loads(answer.read_text(encoding="utf-8"))["result"]["devices"]:
        hardware: dict[str, Any] = device.get("hardwareProperties", {})
        told: dict[str, Any] = device.get("deviceProperties", {})
        connection: dict[str, Any] = device.get("connectionProperties", {})
        if hardware.get("deviceType", "").lower() != "iphone" or not hardware.get("udid"):
            continue
        found.append(
            Phone(
                udid=hardware["udid"],
                identifier=device.get("identifier", hardware["udid"]),
                name=told.get("name", hardware["udid"]),
                hardware=hardware.get("marketingName") or hardware.get("productType", ""),
                os_version=told.get("osVersionNumber", ""),
                build=told.get("osBuildUpdate", ""),
                pairing=connection.get("pairingState", ""),
                tunnel=connection.get("tunnelState", ""),
                developer_mode=told.get("developerModeStatus", ""),
            )
        )
    return found


def _no_list(cause: str) -> DeviceError:
    return DeviceError(
        "xcrun devicectl does not list devices", cause=_short(cause), next_step="install Xcode 16.3 or later, and open it once"
    )


def _said(done: Completed) -> str:
    return (done.stderr or done.stdout).strip() or f"it ended with code {done.code}"


def _short(said: str) -> str:
    """The first line that says something: devicectl and xcodebuild say a lot."""
    lines = [line.strip() for line in said.splitlines() if line.strip(" -\n")]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["nothing was said"])[0][:300]
