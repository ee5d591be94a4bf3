"""The command line: its commands (`edgekit/commands/`), what becomes of errors, and how it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from edgekit import __version__
from edgekit.commands import exporting, judging, measuring
from edgekit.errors import EdgekitError, OutputError, UsageError

app = typer.Typer(
    name="edgekit",
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 the answer is no, 2 wrong usage or input, 3 inconclusive, 4 this machine lacks it.",
)

_BUG = 70
"""The exit code of a fault in edgekit itself (EX_SOFTWARE): none of its answers."""


def _show_version(asked: bool) -> None:
    if asked:
        print(f"edgekit {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Takes PyTorch models made for phones to ONNX, Core ML and ExecuTorch, proves them right and measures them."""


_COMMANDS: tuple[Callable[..., None], ...] = (*exporting.COMMANDS, *measuring.COMMANDS, *judging.COMMANDS)
for _command in _COMMANDS:
    app.command()(_command)


def _end_cleanly(signal_number: int, _: object) -> NoReturn:
    """Let `finally` and `with` clean up when the process is told to end."""
    sys.exit(128 + signal_number)


def main() -> None:
    """The `edgekit` command."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(ending, _end_cleanly)
    _open_streams()
    sys.exit(_run(sys.argv[1:] or ["--help"]))


def _open_streams() -> None:
    """Whoever starts a command may leave it without standard streams: what it prints then goes nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open to the end


def _run(arguments: list[str]) -> int:
    """Run the command and print what it raises. The exit code."""
    try:
        code: int = app(arguments, prog_name="edgekit", standalone_mode=False) or 0
        sys.stdout.flush()
        return code
    except EdgekitError as error:
        failure = error
    except TyperException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "edgekit")
        failure = UsageError(error.format_message(), next_step=f"see `{command} --help`")
    except Exception as error:
        failure = _unforeseen(error)
    from edgekit import console

    with contextlib.suppress(OSError):  # nobody can be told: the exit code still says it
        console.show_error(failure, as_json="--json" in arguments)
    return failure.exit_code


def _unforeseen(error: Exception) -> EdgekitError:
    """Output that cannot be written is the user's to mend; any other exception is a fault of edgekit's."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - so that Python does not try the rest again at its end
        return OutputError("the result cannot be written", cause=str(error.strerror), next_step="free some space")
    traceback.print_exc()
    fault = EdgekitError(
        f"edgekit itself failed: {type(error).__name__}",
        cause=str(error),
        next_step="report it with the lines above; `edgekit doctor` may tell more",
    )
    fault.exit_code = _BUG
    return fault


if __name__ == "__main__":
    main()
