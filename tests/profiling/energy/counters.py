"""A machine with RAPL's counters: real files, laid out as the kernel's, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.devices.link.shell import COMMAND_LIMIT_S, Completed, LocalShell
from edgekit.profiling import energy
from edgekit.profiling.energy import Meter

RANGE_UJ = 262_143_328_850


class Machine(LocalShell):
    """A folder of counters, and a clock that `sleep` moves on: the counters with it, by `watts` each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now_s = folder, 1000.0
        self.watts: dict[str, float] = {}

    def zone(self, zone: str, name: str, *, at_uj: int = 0, watts: float = 0.0, range_uj: int = RANGE_UJ) -> None:
        path = self.folder / zone
        path.mkdir()
        for file, text in (("name", name), ("max_energy_range_uj", range_uj), ("energy_uj", at_uj)):
            (path / file).write_text(f"{text}\n", encoding="utf-8")
        self.watts[zone] = watts

    def pass_time(self, seconds: float, factor: float = 1.0) -> None:
        self.now_s += seconds
        for zone, watts in self.watts.items():
            path = self.folder / zone / "energy_uj"
            if path.exists():
                path.write_text(f"{(int(path.read_text()) + round(1e6 * watts * factor * seconds)) % RANGE_UJ}\n")

    def run(self, arguments: Sequence[str], *, limit_s: float = COMMAND_LIMIT_S) -> Completed:
        if arguments[0] == "sleep":
            self.pass_time(float(arguments[1]))
            return Completed(0, "")
        uptime = self.folder / "uptime"
        uptime.write_text(f"{self.now_s:.2f} 1.00\n", encoding="utf-8")
        here = {"/proc/uptime": str(uptime), "/sys/class/powercap": str(self.folder)}
        for there, path in here.items():
            arguments = [argument.replace(there, path) for argument in arguments]
        return super().run(arguments, limit_s=limit_s)

    def run_for(self, seconds: float) -> int:
        """Runs of 20 ms at three times the idle power."""
        self.pass_time(seconds, 3.0)
        return round(seconds / 0.02)

    def meter(self) -> Meter:
        found = energy.find(self)
        assert isinstance(found, Meter)
        return found
