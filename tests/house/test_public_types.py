"""Whoever calls the public names gets their full types, whichever type checker they use."""

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tests.house.source import PACKAGE, ROOT, modules, refuse
from tests.house.test_docstrings import definition, exports


def incomplete(symbols: list[dict[str, Any]], public: Collection[str]) -> Iterator[str]:
    """Give the public symbols, and the members of public classes, whose type is not written out."""
    for symbol in symbols:
        name = symbol["name"]
        is_public = any(name == known or name.startswith(f"{known}.") for known in public)
        is_private = any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
        if is_public and not is_private and not symbol["isTypeKnown"]:
            yield "\n  ".join([name, *(found["message"].replace("\n", "\n  ") for found in symbol["diagnostics"])])


def report_of_types() -> list[dict[str, Any]]:
    """Ask pyright what a program that imports the package would see of it."""
    # Pyright looks for the package in the environment of the first python on the PATH.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-m", "pyright", "--ignoreexternal", "--verifytypes", "perdure", "--outputjson"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50, check=False)
    try:
        symbols: list[dict[str, Any]] = json.loads(result.stdout)["typeCompleteness"]["symbols"]
    except (ValueError, KeyError):
        raise AssertionError(f"pyright gave no report:\n{result.stdout}{result.stderr}") from None
    return symbols


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_public_names_have_complete_types() -> None:
    by_name = {module.name: module for module in modules()}
    found = [definition(by_name, *place) for place in exports(by_name["perdure"]).values()]
    public = {f"{module.name}.{node.name}" for module, node in filter(None, found)}
    symbols = report_of_types()
    assert public <= {symbol["name"] for symbol in symbols}, "pyright does not see every public name"
    refuse(incomplete(symbols, public))


def test_incomplete_types_are_noticed() -> None:
    def symbol(name: str, is_known: bool) -> dict[str, Any]:
        return {"name": name, "isTypeKnown": is_known, "diagnostics": [{"message": "unknown"}]}

    symbols = [symbol("perdure.a.Thing", True), symbol("perdure.a.Thing.size", False), symbol("perdure.a.Thing._size", False)]
    symbols += [symbol("perdure.a.Things", False), symbol("perdure.b.act", False)]
    assert [complaint.split()[0] for complaint in incomplete(symbols, {"perdure.a.Thing", "perdure.b.act"})] == [
        "perdure.a.Thing.size",
        "perdure.b.act",
    ]
