"""The command line with its extra: cyclopts reads the arguments, each command's module is imported when it is used."""

from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, Group
from rich.console import Console

from perdure.cli.commands import COMMANDS, GROUPS, version_text
from perdure.cli.exits import MEANINGS, Exit

CODES = "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."


def make_app(used: str) -> App:
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
    for number, command in enumerate(COMMANDS):
        usage = f"Usage: perdure {command.name} {command.usage} [OPTIONS]".replace("  ", " ")
        target: Any = command.target or _programs()[command.name]
        told = {} if command.name == used and command.target else {"help": command.summary}
        app.command(target, name=command.name, group=groups[command.group], usage=usage, sort_key=number, help_epilogue="", **told)
    return app


def _programs() -> dict[str, Any]:
    """The demo and the benchmark are listed here, but never called from here."""
    return {command.name: (lambda: Exit.USAGE) for command in COMMANDS if not command.target}


def run(given: Sequence[str]) -> int:
    """Run one command line; gives the exit code."""
    app = make_app(given[0] if given else "")
    try:
        code = app(list(given))
    except CycloptsError as error:
        problem = str(error).strip().replace("\n", " ")
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"perdure: {problem}", markup=False)
        command = next((entry for entry in COMMANDS if given and entry.name == given[0]), None)
        where = f"perdure {command.name} --help" if command else "perdure --help"
        Console(stderr=True, highlight=False).print(f"See {where}.", markup=False)
        return Exit.USAGE
    return Exit.OK if code is None else int(code)
