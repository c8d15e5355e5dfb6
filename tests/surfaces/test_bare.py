"""The command on a bare Python, and the table that all of it is made from."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from perdure.cli import main
from perdure.cli.commands import COMMANDS, plain_help
from perdure.cli.exits import MEANINGS, Exit, exit_of
from perdure.config import Settings, settings
from perdure.model import errors
from perdure.model.errors import PerdureError
from tests.house.test_imports import WITHOUT_EXTRAS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def bare(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command where no extra can be found."""
    code = f"{WITHOUT_EXTRAS}\nfrom perdure.cli import main\nsys.exit(main({list(arguments)!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25, check=False)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("list", "--help")])
def test_help_without_extras_names_every_command_and_how_to_install(arguments: tuple[str, ...]) -> None:
    said = bare(*arguments)
    assert (said.returncode, said.stderr) == (0, "")
    assert [command.name for command in COMMANDS if f"  {command.name} " not in said.stdout] == []
    assert "pip install 'perdure[cli]'" in said.stdout


def test_a_command_without_its_extra_says_what_to_install() -> None:
    said = bare("list")
    assert (said.returncode, said.stdout) == (2, "")
    assert "pip install 'perdure[cli]'" in said.stderr
    assert bare("dance").returncode == 2
    assert bare("--version").returncode == 0


@pytest.mark.parametrize("name", ["demo", "bench"])
def test_a_program_without_its_extra_says_what_to_install(name: str) -> None:
    said = bare(name, "--help")
    assert "Traceback" not in said.stderr
    assert said.returncode == 0 or "pip install" in said.stderr


def test_the_full_help_names_every_command_and_every_exit_code() -> None:
    said = subprocess.run([sys.executable, "-m", "perdure", "--help"], capture_output=True, text=True, timeout=25, check=False)
    assert said.returncode == 0
    families = sorted({command.name.split()[0] for command in COMMANDS if " " in command.name})
    asked = [
        subprocess.run([sys.executable, "-m", "perdure", name, "--help"], capture_output=True, text=True, check=True) for name in families
    ]
    told = said.stdout + "".join(family.stdout for family in asked)
    assert [command.summary for command in COMMANDS if command.summary not in told] == []
    assert all(str(code.value) in said.stdout for code in MEANINGS)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.target], ids=lambda command: command.name)
def test_every_command_has_a_function_that_explains_itself(command: object) -> None:
    module, _, name = command.target.partition(":")  # type: ignore[attr-defined]
    assert inspect.getdoc(getattr(import_module(module), name))
    assert command.summary in plain_help()  # type: ignore[attr-defined]


def test_a_mistake_of_ours_has_a_code_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(given: list[str]) -> int:
        raise ZeroDivisionError(given[0])

    monkeypatch.setattr("perdure.cli.application.run", run)
    assert main(["list"]) == Exit.INTERNAL
    error = capsys.readouterr().err
    assert "ZeroDivisionError: list" in error
    assert "mistake in Perdure" in error


def all_errors(root: type[PerdureError]) -> list[type[PerdureError]]:
    return [root, *(found for child in root.__subclasses__() for found in all_errors(child))]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RunNotFound, Exit.NOT_FOUND),
        (errors.RunConflict, Exit.CONFLICT),
        (errors.RunEnded, Exit.CONFLICT),
        (errors.InvalidValue, Exit.USAGE),
        (errors.AnswerOverdue, Exit.UNAVAILABLE),
        (errors.LeaseLost, Exit.UNAVAILABLE),
        (errors.ReplayMismatch, Exit.STALLED),
        (errors.PayloadTooLarge, Exit.TOO_LARGE),
        (errors.RunFailed, Exit.FAILED),
        (errors.RunCancelled, Exit.CANCELLED),
        (errors.Internal, Exit.INTERNAL),
    ],
)
def test_an_error_has_the_exit_code_of_its_kind(error: type[PerdureError], code: Exit) -> None:
    assert exit_of(error("x")) is code


def test_only_our_own_mistakes_have_the_code_of_one() -> None:
    ours = {error for error in all_errors(PerdureError) if error.__module__ == errors.__name__ and exit_of(error("x")) is Exit.INTERNAL}
    assert ours == {PerdureError, errors.Internal}


def test_the_page_has_every_command_and_every_exit_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [command.name for command in COMMANDS if f"`perdure {command.name}" not in page] == []
    assert [code for code, meaning in MEANINGS.items() if f"| {code.value} | {meaning} |" not in page] == []


def test_settings_come_from_the_environment_and_empty_ones_do_not_count() -> None:
    assert settings({}) == Settings()
    found = settings({"PERDURE_STORE": "memory://", "PERDURE_PATIENCE": "", "PERDURE_DRAIN": "5s", "OTHER": "x"})
    assert found == Settings(store="memory://", drain="5s")
