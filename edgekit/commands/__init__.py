"""The commands, a theme a file. Each parses, calls, prints; heavy packages are imported where they are used.

A file exports `COMMANDS`, in the order in which `--help` lists them; a command is called as its function is.
"""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
