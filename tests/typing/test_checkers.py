"""Calling is calling: what a checker knows of a function, it knows of the action or workflow made of it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

Complaints = dict[int, str]


def run(*command: str) -> str:
    # Pyright looks for the package in the environment of the first python on the PATH.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=55, check=False
    )
    assert result.returncode in (0, 1), result.stdout + result.stderr
    return result.stdout


def pyright(file: Path) -> Complaints:
    report = json.loads(run("pyright", "--outputjson", str(file)))
    errors = [entry for entry in report["generalDiagnostics"] if entry["severity"] == "error"]
    return {entry["range"]["start"]["line"] + 1: entry["message"] for entry in errors}


def mypy(file: Path) -> Complaints:
    lines = run("mypy", "--no-error-summary", "--no-pretty", str(file)).splitlines()
    found = [re.match(r"(.*?):(\d+): error: (.*)", line) for line in lines]
    return {int(match[2]): match[3] for match in found if match and match[1].endswith(file.name)}


CHECKERS = pytest.mark.parametrize("checker", [pyright, mypy])


@CHECKERS
def test_correct_uses_pass_and_have_the_types_of_the_functions(checker: Callable[[Path], Complaints]) -> None:
    assert checker(HERE / "correct.py") == {}


@CHECKERS
def test_each_wrong_use_is_refused_and_nothing_else(checker: Callable[[Path], Complaints]) -> None:
    file = HERE / "wrong.py"
    lines = file.read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, start=1) if "# wrong" in line and '"""' not in line}
    found = checker(file)
    assert {number: lines[number - 1].strip() for number in wrong - found.keys()} == {}, "not refused"
    assert {number: message for number, message in found.items() if number not in wrong} == {}, "refused without reason"
