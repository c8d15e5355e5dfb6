"""The command ``perdure``. Its help works on a bare Python; its commands need the extra ``cli``."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from perdure.cli.commands import INSTALL, command_of, plain_help, version_text
from perdure.cli.exits import CommandEnds, Exit, exit_of
from perdure.model.errors import Internal, PerdureError

EXTRAS = ("rich", "cyclopts", "PIL", "uvloop", "cryptography")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; gives the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not complain about it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.BROKEN_PIPE
    return int(code)


def _run(given: list[str]) -> int:
    try:
        return _program(given[0], given[1:]) if given[:1] in (["demo"], ["bench"]) else _command(given)
    except CommandEnds as end:
        _say(end.message)
        return end.code
    except PerdureError as error:
        _say(f"perdure: {error}")
        return exit_of(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        traceback.print_exc()
        _say(f"perdure: {Internal(what=f'{type(error).__name__} was not expected')}")
        return Exit.INTERNAL


def _say(text: str) -> None:
    if text:
        sys.stdout.flush()
        print(text, file=sys.stderr)


def _program(name: str, rest: list[str]) -> int:
    """The demo and the benchmark are programs of their own, with options of their own."""
    try:
        code = import_module(f"perdure.{name}").main(rest)
    except ModuleNotFoundError as error:
        raise CommandEnds(Exit.USAGE, _missing(name, error)) from error
    return int(code or 0)


def _missing(name: str, error: ModuleNotFoundError) -> str:
    if error.name in EXTRAS:
        return f"perdure {name}: it needs {error.name}, which is not installed: pip install 'perdure[cli,fast,demo]'"
    if error.name == f"perdure.{name}":
        return f"perdure {name}: it is not part of this installation."
    raise error


def _command(given: list[str]) -> int:
    if given[:1] == ["--version"]:
        print(version_text())
        return Exit.OK
    try:
        application = import_module("perdure.cli.application")
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        return _bare(given)
    code: int = application.run(given)
    return code


def _bare(given: list[str]) -> int:
    """What there is without the extra."""
    if not given or {"--help", "-h", "help"} & set(given):
        print(plain_help())
        return Exit.OK
    known = command_of(given) is not None
    problem = (
        f"the command {given[0]!r} needs the extra 'cli': {INSTALL}" if known else f"there is no command {given[0]!r}; see perdure --help"
    )
    raise CommandEnds(Exit.USAGE, f"perdure: {problem}")
