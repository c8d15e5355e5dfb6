"""Exit codes: what a script may rely on. The page docs/reference/cli.md lists them."""

from collections.abc import Mapping
from enum import IntEnum

from perdure.model.errors import PerdureError, RunCancelled


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    CANCELLED = 6
    STALLED = 7
    TOO_LARGE = 8
    INTERNAL = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "the run, or the update, ended by an error of its code",
    Exit.USAGE: "the command, an option or a value is wrong, or an extra is missing",
    Exit.NOT_FOUND: "there is no such run, call, workflow, file or store",
    Exit.CONFLICT: "it exists with other content, or has ended already",
    Exit.UNAVAILABLE: "the store or a node did not answer in time; try again",
    Exit.CANCELLED: "the run was cancelled",
    Exit.STALLED: "the run is stalled: mend its code, then resume it",
    Exit.TOO_LARGE: "a limit was reached",
    Exit.INTERNAL: "a mistake in Perdure",
    Exit.INTERRUPTED: "ended by Ctrl-C",
    Exit.BROKEN_PIPE: "whoever read the output has gone",
    Exit.TERMINATED: "ended by SIGTERM",
}

_BY_KIND: Mapping[str, Exit] = {
    "not found": Exit.NOT_FOUND,
    "conflict": Exit.CONFLICT,
    "invalid": Exit.USAGE,
    "unsupported": Exit.USAGE,
    "not allowed": Exit.USAGE,
    "expired": Exit.USAGE,
    "unavailable": Exit.UNAVAILABLE,
    "lease lost": Exit.UNAVAILABLE,
    "non-deterministic": Exit.STALLED,
    "too large": Exit.TOO_LARGE,
    "failed": Exit.FAILED,
    "internal": Exit.INTERNAL,
}


def exit_of(error: PerdureError) -> Exit:
    """Give the exit code that tells what the error asks of the caller."""
    if isinstance(error, RunCancelled):
        return Exit.CANCELLED
    return _BY_KIND.get(error.kind, Exit.INTERNAL)


class CommandEnds(Exception):
    """Leaves a command with a code; what there was to say is ``message``, empty if it has been said."""

    def __init__(self, code: Exit, message: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
