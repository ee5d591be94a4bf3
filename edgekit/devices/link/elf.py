"""What a program file says of itself: the ABI it is built for, the shared libraries beside it that it loads (ELF)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MAGIC = b"\x7fELF"
_MACHINES: Final = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86", 243: "riscv64"}
"""Android's name for each `e_machine`."""


def abi(program: Path) -> str | None:
    """Android's name of the ABI that a program is built for. None for what is no ELF file. Raises OSError."""
    with program.open("rb") as stream:
        header = stream.read(20)
    if len(header) < 20 or header[:4] != _MAGIC:
        return None
    machine = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    return _MACHINES.get(machine, f"machine {machine}")


def libraries(program: Path) -> list[Path]:
    """The shared libraries in a program's folder that it loads, and those that they load. Raises OSError."""
    beside = sorted(path for path in program.parent.glob("lib*.so*") if path.is_file())
    wanted, found = [program], []
    while wanted:
        content = wanted.pop().read_bytes()
        # The names are in its string table; a name that is there for another reason costs one needless file.
        loaded = [path for path in beside if path not in found and b"\0" + path.name.encode() + b"\0" in content]
        found += loaded
        wanted += loaded
    return sorted(found)
