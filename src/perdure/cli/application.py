"""The command line with its extra: cyclopts reads the arguments, each command's module is imported when it is used."""

from collections.abc import Mapping, Sequence
from typing import Any

from cyclopts import App, CycloptsError, Group
from rich.console import Console

from perdure.cli.commands import COMMANDS, GROUPS, Command, command_of, version_text
from perdure.cli.exits import MEANINGS, Exit

FAMILIES: Mapping[str, str] = {
    "task": "Standalone tasks: dispatch, retry, cancel, list, show. Each is a run that is one call of an action.",
    "ns": "Namespaces: stores apart under one URL, each with its own limits and retention.",
    "grpc": "gRPC services whose methods are actions.",
    "tickets": "What people are asked: list, show, answer, link.",
    "token": "API tokens, for the HTTP API.",
    "dead": "Dead letters: packets that nobody could take, with the reason.",
    "schema": "The tables of a store.",
}
CODES = "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."


def make_app(used: Command | None) -> App:
    """Give the command line that the table describes. The command that is ``used`` speaks for itself; only its module is imported."""
    app = App(
        name="perdure",
        help="Durable processes in plain Python.",
        help_format="plaintext",
        help_epilogue=CODES,
        version=version_text,
        result_action="return_value",
        error_console=Console(stderr=True),
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        end_of_options_delimiter="--",
    )
    groups = {name: Group(name, sort_key=number) for number, name in enumerate(GROUPS)}
    families: dict[str, App] = {}
    for number, command in enumerate(COMMANDS):
        usage = f"Usage: perdure {command.name} {command.usage} [OPTIONS]".replace("  ", " ")
        target: Any = command.target or _programs()[command.name]
        told: dict[str, Any] = {} if command is used and command.target else {"help": command.summary}
        family, _, name = command.name.rpartition(" ")
        into = app
        if family:
            if family not in families:
                families[family] = App(name=family, help=FAMILIES[family], group=groups[command.group], help_epilogue="")
                app.command(families[family])
            into = families[family]
        else:
            told["group"] = groups[command.group]
        into.command(target, name=name, usage=usage, sort_key=number, help_epilogue="", **told)
    return app


def _programs() -> dict[str, Any]:
    """The demo and the benchmark are listed here, but never called from here."""
    return {command.name: (lambda: Exit.USAGE) for command in COMMANDS if not command.target}


def run(given: Sequence[str]) -> int:
    """Run one command line; gives the exit code."""
    command = command_of(given)
    app = make_app(command)
    try:
        code = app(list(given))
    except CycloptsError as error:
        problem = str(error).strip().replace("\n", " ")
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"perdure: {problem}", markup=False)
        where = f"perdure {command.name} --help" if command else "perdure --help"
        Console(stderr=True, highlight=False).print(f"See {where}.", markup=False)
        return Exit.USAGE
    return Exit.OK if code is None else int(code)
