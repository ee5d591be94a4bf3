"""Every error edgekit raises, and the exit code each one becomes.

::

    EdgekitError
    ├── UsageError             2  the request is wrong: an option, a value, a combination
    │   └── UnknownName        2  a model, target, device, pass or key that does not exist (near names offered)
    ├── InputError             2  a file or a module given to edgekit is unfit
    │   ├── WeightsError       2  missing, corrupt, mismatched, or needs pickle
    │   ├── ModelError         2  a factory that fails, or a module that cannot be captured
    │   └── ArtifactError      2  truncated, edited, or written by a newer schema
    ├── OutputError            2  the place to write to exists already or refuses the write
    ├── ConversionError        1  a pass or a converter failed on this model; nothing was published
    ├── ParityError            1  the artifact computes something else; nothing was published
    ├── Inconclusive           3  the measurement cannot tell
    ├── Unsupported            4  this machine or this runtime lacks what it takes
    │   └── DeviceError        4  a device is lost, full, locked, or refuses
    └── Interrupted          130  a measurement ended before its time, by the user or by an error, whose code it then has

Each carries what happened, why, and what to do next; the command line prints all three.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class EdgekitError(Exception):
    """The root: `what` names the thing, `cause` says why, `next_step` says what to do about it."""

    exit_code = 2

    def __init__(self, what: str, *, cause: str = "", next_step: str = "") -> None:
        self.what, self.cause, self.next_step = what, cause, next_step
        super().__init__(what)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross from worker processes: keep every field, whatever a subclass's constructor takes.
        return (_rebuild, (type(self), self.__dict__.copy()))

    def __str__(self) -> str:
        lines = [self.what]
        if self.cause:
            lines.append(f"cause: {self.cause}")
        if self.next_step:
            lines.append(f"next:  {self.next_step}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, str | int]:
        """The error as the command line's `--json` prints it."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "cause": self.cause,
            "next_step": self.next_step,
            "exit_code": self.exit_code,
        }


def from_dict(fields: Mapping[str, object]) -> EdgekitError:
    """The error that `as_dict` gave these fields, of its own class where this edgekit has it."""
    named = globals().get(str(fields.get("error")))
    kind = named if isinstance(named, type) and issubclass(named, EdgekitError) else EdgekitError
    return _rebuild(kind, {name: str(fields.get(name, "")) for name in ("what", "cause", "next_step")})


def _rebuild(kind: type[EdgekitError], fields: dict[str, object]) -> EdgekitError:
    error = kind.__new__(kind)
    error.__dict__.update(fields)
    error.args = (error.what,)
    return error


class UsageError(EdgekitError):
    """The request itself is wrong."""


class UnknownName(UsageError):  # noqa: N818 - reads as what it is: an unknown name
    """`name` is not one of the `known` names of its `kind`."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, listing: str = "") -> None:
        options = sorted(known)
        near = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
        if near:
            next_step = f"did you mean {' or '.join(near)}?" + (f" ({listing} lists them all)" if listing else "")
        elif listing:
            next_step = f"see `{listing}`"
        else:
            next_step = f"choose one of: {', '.join(options)}" if options else f"no {kind} can be given here"
        self.kind, self.name, self.near = kind, name, near
        super().__init__(f"unknown {kind} {name!r}", cause=f"no {kind} has that name", next_step=next_step)


class InputError(EdgekitError):
    """A file or module given to edgekit is unfit."""


class WeightsError(InputError):
    """The checkpoint cannot be used with this model."""


class ModelError(InputError):
    """The module cannot be built or captured."""


class ArtifactError(InputError):
    """The artifact directory is damaged, edited or too new."""


class OutputError(EdgekitError):
    """The output cannot be written where it was asked for."""


class ConversionError(EdgekitError):
    """A pass or a converter failed; nothing was published."""

    exit_code = 1


class ParityError(EdgekitError):
    """The artifact's outputs miss the tolerance; nothing was published."""

    exit_code = 1


class Inconclusive(EdgekitError):  # noqa: N818 - an answer, not a failure
    """The evidence does not decide the question."""

    exit_code = 3


class Unsupported(EdgekitError):  # noqa: N818 - an answer, not a failure
    """This machine or runtime lacks what the request takes."""

    exit_code = 4


class DeviceError(Unsupported):
    """A device is lost, full, locked, or refuses."""


class Interrupted(EdgekitError):  # noqa: N818 - carries an answer, as far as it came
    """A measurement ended before its time: by `error`, after some samples were taken. `partial` holds the measurements
    of them."""

    exit_code = 130

    def __init__(self, error: BaseException, partial: Sequence[Any]) -> None:
        told = error if isinstance(error, EdgekitError) else EdgekitError("interrupted")
        super().__init__(told.what, cause=told.cause, next_step=told.next_step)
        if isinstance(error, EdgekitError):
            self.exit_code = error.exit_code
        self.partial = tuple(partial)
