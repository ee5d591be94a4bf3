"""Meters that are a library of Python's: a few lines run by `python` where the counter is, so that they read like any other."""

from __future__ import annotations

import json
from typing import Any

from edgekit.devices.link.shell import Shell
from edgekit.profiling.energy import Meter, NotMeasured, Reading


class ProgramMeter(Meter):
    """`program` prints one JSON object: `joules`, `at_s` and what else it tells, or `error` and what it is of."""

    program: str
    arguments: tuple[str, ...] = ()

    def read(self) -> Reading:
        answer = self.ask()
        return Reading(float(answer["joules"]), float(answer["at_s"]))

    def ask(self) -> dict[str, Any]:
        """What the program prints. Raises NotMeasured where it says `error`."""
        done = _run(self.shell, self.program, self.arguments)
        if "error" in done:
            raise self.lost(str(done["error"]))
        return done

    def lost(self, error: str) -> NotMeasured:
        """What an error of the library means."""
        return NotMeasured("no_counter", f"{self.name} gives no energy: {error}")


def _run(shell: Shell, program: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    """What `program` prints there, or {"error": how it ended}."""
    done = shell.run(["python", "-c", program, *arguments])
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        return {"error": lines[-1] if lines else f"python ended with status {done.code}"}
    return answer if isinstance(answer, dict) else {"error": f"it printed {done.stdout[:80]!r}"}
